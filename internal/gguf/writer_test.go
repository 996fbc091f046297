package gguf

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
)

// everyKind has a value of each type.
var everyKind = []KV{
	{"u8", uint8(200)}, {"i8", int8(-3)}, {"u16", uint16(60000)}, {"i16", int16(-300)}, {"u32", uint32(4e9)}, {"i32", int32(-7)},
	{"u64", uint64(1 << 63)}, {"i64", int64(-1 << 40)}, {"f32", float32(1e-5)}, {"f64", math.Pi}, {"bool", true}, {"text", "Grüße"}, {"bytes", "\xff\x00"},
	{"u8s", []uint8{1, 2, 3}}, {"i32s", []int32{-1, 5}}, {"f32s", []float32{0.5, -2}}, {"bools", []bool{true, false}}, {"texts", []string{"a", "", "ü"}}, {"none", []string{}},
	{"u64s", []uint64{1}}, {"f64s", []float64{2.5}}, {"i64s", []int64{-9}}, {"i8s", []int8{-1}}, {"u16s", []uint16{7}}, {"i16s", []int16{-7}}, {"u32s", []uint32{9}},
}

// TestWriter writes a file in uneven pieces, and reads it.
func TestWriter(t *testing.T) {
	infos := []Info{{"a", F32, []int{3, 5}}, {"b", 8, []int{2, 32}}, {"c", BF16, []int{7}}, {"d", F16, []int{2, 3, 4}}}
	for _, align := range []int{32, 64, 8} {
		meta := everyKind
		if align != 32 {
			meta = SetKV(everyKind, KV{alignmentKey, uint32(align)})
		}
		var b bytes.Buffer
		w, err := NewWriter(&b, meta, infos)
		if err != nil {
			t.Fatal(err)
		}
		var data []byte
		for _, i := range infos {
			n, err := i.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			for range n {
				data = append(data, byte(len(data)*7))
			}
		}
		for at, step := 0, 1; at < len(data); step = step*3%50 + 1 {
			if err := w.Close(); err == nil {
				t.Fatalf("%d of %d bytes are a whole file", at, len(data))
			}
			end := min(at+step, len(data))
			if n, err := w.Write(data[at:end]); n != end-at || err != nil {
				t.Fatal(n, err)
			}
			at = end
		}
		if _, _, ok := w.Next(); ok || w.Close() != nil {
			t.Errorf("the file is not whole: %v", w.Close())
		}
		if _, err := w.Write([]byte{0}); err == nil {
			t.Error("a byte too many is no error")
		}
		f, err := Parse(b.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range meta {
			if got, err := f.KV(want.Key); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s: got %v (%v), want %v", want.Key, got, err, want)
			}
		}
		for _, i := range infos {
			got, ok := f.Tensor(i.Name)
			n, _ := i.Bytes()
			if !ok || got.Type != i.Type || !reflect.DeepEqual(got.Shape, i.Shape) || !bytes.Equal(got.Data, data[:n]) {
				t.Errorf("%s: got %v %v", i.Name, got.Type, got.Shape)
			}
			data = data[n:]
		}
	}
}

func TestWriterErrors(t *testing.T) {
	for name, c := range map[string]struct {
		meta  []KV
		infos []Info
		want  string
	}{
		"key twice":      {[]KV{{"a", true}, {"a", false}}, nil, `key "a" twice`},
		"no key":         {[]KV{{"", true}}, nil, "has 0 bytes"},
		"type":           {[]KV{{"a", 1}}, nil, "type int, which"},
		"nil":            {[]KV{{"a", nil}}, nil, "type <nil>"},
		"alignment":      {[]KV{{alignmentKey, uint32(12)}}, nil, "power of two"},
		"tensor twice":   {nil, []Info{{"a", F32, []int{1}}, {"a", F32, []int{1}}}, "is there twice"},
		"no blocks":      {nil, []Info{{"a", 8, []int{33}}}, "whole number of blocks"},
		"unknown type":   {nil, []Info{{"a", 4, []int{32}}}, "type 4"},
		"nothing":        {nil, []Info{{"a", F32, []int{0}}}, "dimension of 0"},
		"negative":       {nil, []Info{{"a", F32, []int{-1}}}, "dimension of 0"},
		"five axes":      {nil, []Info{{"a", F32, []int{1, 1, 1, 1, 1}}}, "5 dimensions"},
		"name not UTF-8": {nil, []Info{{"\xff", F32, []int{1}}}, "not UTF-8"},
	} {
		if _, err := NewWriter(&bytes.Buffer{}, c.meta, c.infos); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	w, err := NewWriter(&full{room: 90}, nil, []Info{{"a", F32, []int{64}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, 256)); !errors.Is(err, errFull) || !errors.Is(w.Close(), errFull) {
		t.Errorf("got %v and %v, want the writer's own error", err, w.Close())
	}
}

var errFull = errors.New("no space")

// full takes room bytes.
type full struct{ room int }

func (f *full) Write(p []byte) (int, error) {
	if f.room -= len(p); f.room < 0 {
		return 0, errFull
	}
	return len(p), nil
}
