package pth

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A pickle in a notation for tests: strings and opcodes one after the other.
func text(s string) string {
	return "X" + string(binary.LittleEndian.AppendUint32(nil, uint32(len(s)))) + s
}

func long(n int64) string {
	return "\x8a\x08" + string(binary.LittleEndian.AppendUint64(nil, uint64(n)))
}

// tensorOf is a tensor of the storage 0, class of numel elements.
func tensorOf(class string, numel, offset int64, shape, stride []int64) string {
	numbers := func(list []int64) string {
		s := "("
		for _, n := range list {
			s += long(n)
		}
		return s + "t"
	}
	return "ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") + "ctorch\n" + class + "\n" + text("0") + text("cpu") + long(numel) + "tQ" +
		long(offset) + numbers(shape) + numbers(stride) + "\x89ccollections\nOrderedDict\n)RtR"
}

// inZip wraps a pickle, with 24 bytes of data as storage 0.
func inZip(t testing.TB, pickle string) []byte {
	t.Helper()
	return pack(t, entry{"x/data.pkl", pickle}, entry{"x/data/0", strings.Repeat("\x01", 24)})
}

type entry struct{ name, data string }

func pack(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	z := zip.NewWriter(&buf)
	for _, e := range entries {
		name, deflate := strings.CutSuffix(e.name, "?deflate")
		h := &zip.FileHeader{Name: name, Method: zip.Store}
		if deflate {
			h.Method = zip.Deflate
		}
		w, err := z.CreateHeader(h)
		if err == nil {
			_, err = w.Write([]byte(e.data))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func openBytes(t testing.TB, data []byte) (*File, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.pth")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return Open(path)
}

// one is a state_dict with one tensor.
func one(tensor string) string { return "\x80\x02}" + text("a") + tensor + "s." }

// TestPickles has what a liar may write; each is one error, or, where want is "", fine.
func TestPickles(t *testing.T) {
	good := tensorOf("FloatStorage", 6, 0, []int64{2, 3}, []int64{3, 1})
	of := func(offset int64, shape, stride []int64) string {
		return one(tensorOf("FloatStorage", 6, offset, shape, stride))
	}
	for name, c := range map[string]struct{ pickle, want string }{
		"good":             {one(good), ""},
		"model":            {"\x80\x02}" + text("model") + "}" + text("a") + good + "ss.", ""},
		"state_dict":       {"\x80\x02}(" + text("epoch") + "K\x03" + text("state_dict") + "}" + text("a") + good + "su.", ""},
		"attributes":       {"\x80\x02ccollections\nOrderedDict\n)R" + text("a") + good + "s}" + text("_metadata") + "}sb.", ""},
		"pairs":            {"\x80\x02ccollections\nOrderedDict\n]" + text("a") + good + "\x86a\x85R.", ""},
		"large strides":    {of(0, []int64{1, 6}, []int64{1 << 40, 1}), ""},
		"system":           {"\x80\x02cos\nsystem\n" + text("id") + "\x85R.", `"os.system" when it is loaded; refused`},
		"system by stack":  {"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R.", `"posix.system"`},
		"eval":             {"\x80\x02c__builtin__\neval\n" + text("1") + "\x85R.", `"__builtin__.eval"`},
		"a class of torch": {"\x80\x02ctorch.nn.modules.linear\nLinear\n)\x81.", "save model.state_dict()"},
		"new object":       {"\x80\x02ccollections\nOrderedDict\n)\x81.", "opcode 0x81 is none that checkpoints are made of; refused"},
		"instance":         {"(ios\nsystem\n.", "opcode 0x69"},
		"text protocol":    {"(dp0\nI1\ns.", "opcode"},
		"protocol 9":       {"\x80\x09}.", "pickle protocol 9, 2 to 5 wanted"},
		"call of a string": {"\x80\x02" + text("a") + ")R.", `a call of the string "a"`},
		"call of a type":   {"\x80\x02ctorch\nfloat32\n)R.", "a call of torch.float32"},
		"a list":           {"\x80\x02].", "data.pkl holds a list"},
		"a tensor":         {"\x80\x02" + good + ".", "data.pkl holds a tensor"},
		"no tensors":       {"\x80\x02}" + text("a") + "K\x01s.", "the dictionary has no tensors"},
		"twice":            {"\x80\x02}(" + text("a") + good + text("a") + good + "u.", `a dictionary has the key "a" twice`},
		"a number's name":  {"\x80\x02}K\x01" + good + "s.", "a tensor is called the int64 1, want a string"},
		"a long name":      {"\x80\x02}" + text(strings.Repeat("x", 5000)) + good + "s.", "has 5000 bytes, want at most 4096"},
		"no UTF-8":         {"\x80\x02}" + text("\xff") + good + "s.", "a string is not UTF-8"},
		"empty":            {"", "the pickle ends in the middle"},
		"no stop":          {"\x80\x02}", "the pickle ends in the middle"},
		"two values":       {"\x80\x02}}.", "the pickle leaves 2 values"},
		"nothing":          {"\x80\x02.", "the pickle leaves 0 values"},
		"long string":      {"\x80\x02X\xff\xff\xff\xffa", "the pickle ends in the middle"},
		"huge string":      {"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xff", "the pickle ends in the middle"},
		"huge number":      {"\x80\x02\x8b\xff\xff\xff\x7f", "the pickle ends in the middle"},
		"never kept":       {"\x80\x02h\x05.", "value 5 was never kept"},
		"empty stack":      {"\x80\x020.", "the stack is empty"},
		"no mark":          {"\x80\x02t.", "a mark is wanted"},
		"a mark as value":  {"\x80\x02(\x85.", "a mark is on the stack"},
		"odd items":        {"\x80\x02}(K\x01u.", "1 keys and values for a dictionary"},
		"items of a tuple": {"\x80\x02)(K\x01e.", "items for a tuple"},
		"state of a tuple": {"\x80\x02)}b.", "attributes for a tuple; refused"},
		"global's name":    {"\x80\x02cos", "a name of at most"},
		"cycle":            {"\x80\x02}q\x00" + text("a") + "h\x00s" + text("b") + good + "s.", ""},
		"persistent int":   {"\x80\x02K\x01Q.", "persistent id the int64 1"},
		"odd storage":      {"\x80\x02(" + text("storage") + "ccollections\nOrderedDict\n" + text("0") + text("cpu") + "K\x01tQ.", "a storage of collections.OrderedDict"},
		"few arguments":    {"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.", "a tensor of 0 arguments"},
		"no storage":       {"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(K\x01K\x01))\x89}tR.", "a tensor of the int64 1"},
		"parameter":        {"\x80\x02ctorch._utils\n_rebuild_parameter\n)R.", "a parameter without its tensor"},
		"no record":        {strings.Replace(one(good), text("0"), text("1"), 1), `its storage "data/1" is not in the file`},
		"a long storage":   {one(tensorOf("FloatStorage", 7, 0, []int64{2}, []int64{1})), "has 24 bytes, which are not 7 elements of F32"},
		"a short storage":  {one(tensorOf("FloatStorage", 5, 0, []int64{2}, []int64{1})), "has 24 bytes, which are not 5 elements of F32"},
		"negative storage": {one(tensorOf("FloatStorage", -6, 0, []int64{2}, []int64{1})), "a storage of"},
		"overflow storage": {one(tensorOf("FloatStorage", 1<<62, 0, []int64{2}, []int64{1})), "which are not 4611686018427387904 elements"},
		"untyped":          {one(tensorOf("UntypedStorage", 24, 0, []int64{2}, []int64{1})), "elements of type"},
		"too long":         {of(0, []int64{7}, []int64{1}), "reaches behind the 6 elements"},
		"too far":          {of(5, []int64{2}, []int64{1}), "reaches behind the 6 elements"},
		"strides too far":  {of(0, []int64{2, 3}, []int64{4, 1}), "reaches behind the 6 elements"},
		"negative offset":  {of(-1, []int64{2}, []int64{1}), "reaches behind"},
		"negative size":    {of(0, []int64{-2}, []int64{1}), "numbers that are not negative wanted"},
		"negative stride":  {of(5, []int64{2}, []int64{-1}), "numbers that are not negative wanted"},
		"overflow":         {of(0, []int64{1 << 40, 1 << 40}, []int64{0, 0}), "more elements than can be counted"},
		"stride overflow":  {of(0, []int64{3, 3}, []int64{1 << 62, 1 << 62}), "more elements than can be counted"},
		"overflow and 0":   {of(0, []int64{1 << 40, 1 << 40, 0}, []int64{0, 0, 0}), "more elements than can be counted"},
		"expanded":         {of(0, []int64{1 << 40}, []int64{0}), "repeats elements"},
		"few strides":      {of(0, []int64{2, 3}, []int64{1}), "2 sizes and 1 strides"},
		"many dimensions":  {of(0, make([]int64, 65), make([]int64, 65)), "65 sizes and 65 strides"},
		"conjugate":        {"\x80\x02}" + text("a") + strings.TrimSuffix(good, "tR") + "}" + text("conj") + "\x88stRs.", "a tensor with metadata"},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := openBytes(t, inZip(t, c.pickle))
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want %s", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			x, ok := f.Tensor(f.Names()[0])
			if !ok || len(x.Data) != 24 || x.DType != "F32" {
				t.Errorf("got %v, %v", x, ok)
			}
		})
	}
}

func TestArchives(t *testing.T) {
	good := one(tensorOf("FloatStorage", 6, 0, []int64{6}, []int64{1}))
	data := entry{"x/data/0", strings.Repeat("\x01", 24)}
	sum := pack(t, entry{"x/data.pkl", good}, data)
	sum = bytes.Replace(sum, []byte("FloatStorage"), []byte("floatStorage"), 1)
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"no pickle":         {pack(t, data), "without a data.pkl"},
		"deep pickle":       {pack(t, entry{"x/y/data.pkl", good}, data), "without a data.pkl"},
		"two pickles":       {pack(t, entry{"x/data.pkl", good}, entry{"y/data.pkl", good}, data), "one data.pkl wanted"},
		"twice":             {pack(t, entry{"x/data.pkl", good}, data, data), `record "x/data/0": is there twice`},
		"compressed pickle": {pack(t, entry{"x/data.pkl?deflate", good}, data), `record "x/data.pkl": is compressed`},
		"compressed data":   {pack(t, entry{"x/data.pkl", good}, entry{"x/data/0?deflate", strings.Repeat("\x00", 1<<20)}), `record "x/data/0": is compressed`},
		"TorchScript":       {pack(t, entry{"x/data.pkl", good}, data, entry{"x/code/a.py", ""}), "is a TorchScript program"},
		"big-endian":        {pack(t, entry{"x/data.pkl", good}, data, entry{"x/byteorder", "big"}), `byte order is "big"`},
		"checksum":          {sum, "its checksum is"},
		"long name":         {pack(t, entry{strings.Repeat("x", 5000), ""}), "name of 5000 bytes"},
	} {
		if _, err := openBytes(t, c.file); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
	}
}

// FuzzUnpickle: whatever the bytes, a file is an error or its tensors are inside it.
func FuzzUnpickle(f *testing.F) {
	good := tensorOf("FloatStorage", 6, 0, []int64{2, 3}, []int64{1, 2})
	for _, s := range []string{one(good), "\x80\x02cos\nsystem\n" + text("id") + "\x85R.", "\x80\x04\x95", "\x80\x02ccollections\nOrderedDict\n]" + text("a") + good + "\x86a\x85R."} {
		f.Add([]byte(s))
	}
	for _, name := range []string{"types", "state", "code"} {
		path := "testdata/" + name + ".pth"
		z, err := zip.OpenReader(path)
		if err != nil {
			f.Fatal(err)
		}
		r, err := z.Open(name + "/data.pkl")
		if err != nil {
			f.Fatal(err)
		}
		var buf bytes.Buffer
		if _, err := buf.ReadFrom(r); err != nil {
			f.Fatal(err)
		}
		f.Add(buf.Bytes())
		z.Close()
	}
	f.Fuzz(func(t *testing.T, pickle []byte) {
		if len(pickle) > 1<<16 {
			t.Skip()
		}
		checkBytes(t, inZip(t, string(pickle)))
	})
}

// FuzzOpen does the same with whole files.
func FuzzOpen(f *testing.F) {
	for _, name := range []string{"types", "views", "state", "expanded"} {
		data, err := os.ReadFile("testdata/" + name + ".pth")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			t.Skip()
		}
		checkBytes(t, data)
	})
}

// checkBytes opens a file in memory and reads all it has, within bounds.
func checkBytes(t *testing.T, data []byte) {
	a, err := openArchive(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return
	}
	names, tensors, err := a.state()
	if err != nil {
		return
	}
	f := &File{mapped: data, names: names, tensors: tensors}
	for _, n := range names {
		x, ok := f.Tensor(n)
		size := x.DType.Size()
		for _, d := range x.Shape {
			size *= d
		}
		if !ok || len(x.Data) != size || len(x.Data) > len(data) {
			t.Fatalf("%q: %v of %d bytes in a file of %d", n, x.Shape, len(x.Data), len(data))
		}
	}
}
