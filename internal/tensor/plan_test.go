package tensor

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// graphs makes a graph of n rows on weights of dev, and gives its output.
func planGraph(t *testing.T, dev *Device, w *Tensor, n int) (x, y *Tensor) {
	t.Helper()
	g := NewGraph()
	x = g.Floats(n, 8)
	return x, x.MatMulT(w).Softmax(1, nil).MatMulT(w).Scale(2)
}

// A twin counts what its device allocates, and takes nothing.
func TestPlanningDevice(t *testing.T) {
	dev, err := Open("cpu", Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	run := func(dev *Device) (scratch int) {
		a, b, m := Param(8, 8), Param(3, 5), Param(2, 3)
		dev.Label("first")
		if err := dev.Alloc(a, F32); err != nil {
			t.Fatal(err)
		}
		dev.Label("second")
		if err := dev.Alloc(b, BF16); err != nil {
			t.Fatal(err)
		}
		if err := dev.Map(m, F32, asBytes(make([]float32, 6))); err != nil {
			t.Fatal(err)
		}
		a.SetValues(make([]float32, 64))
		_, y := planGraph(t, dev, a, 100)
		p, err := y.Graph().Compile(dev, y)
		if err != nil {
			t.Fatal(err)
		}
		p.Close()
		for _, w := range []*Tensor{a, b, m} {
			w.Free()
		}
		return p.Scratch
	}
	twin := dev.Plan()
	if got, want := run(twin), run(dev); got != want || got < 100*8*4 {
		t.Errorf("got %d bytes of scratch memory planned, %d taken", got, want)
	}
	if got, want := twin.Peak(), dev.Peak(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v planned, %+v taken", got, want)
	}
	want := []Use{{"first", 320, 0}, {"second", 96, 24}, {Activations, 0, 0}}
	want[2].Bytes = dev.Peak()[2].Bytes
	if !reflect.DeepEqual(dev.Peak(), want) {
		t.Errorf("got %+v, want %+v", dev.Peak(), want)
	}
	for _, d := range []*Device{dev, twin} {
		if bytes, mapped := Total(d.Usage()); bytes != 0 || mapped != 0 {
			t.Errorf("got %d and %d bytes in use after all is freed", bytes, mapped)
		}
	}
}

// What has no values gives none.
func TestPlanningDeviceFails(t *testing.T) {
	dev, err := Open("cpu", Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	twin := dev.Plan()
	w := Param(8, 8)
	w.Name = "w"
	if err := twin.Alloc(w, F32); err != nil {
		t.Fatal(err)
	}
	defer w.Free()
	x, y := planGraph(t, twin, w, 2)
	p, err := y.Graph().Compile(twin, y)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	x.SetFloats(make([]float32, 16))
	for name, tt := range map[string]struct {
		do   func() error
		want string
	}{
		"run":             {p.Run, "computes nothing"},
		"read a weight":   {func() error { w.Values(); return nil }, `weight "w" has no value on a planning device`},
		"read an output":  {func() error { y.Values(); return nil }, "not an output of a program that was run"},
		"a real program":  {func() error { _, err := y.Graph().Compile(dev, y); return err }, `weight "w" is on a planning device`},
		"too many values": {func() error { w.SetValues(make([]float32, 3)); return nil }, "12 bytes for F32 [8 8]"},
	} {
		err := func() (err error) { defer Catch(&err); return tt.do() }()
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, tt.want)
		}
	}
}

// Programs in an arena compute what programs of their own do, in the memory of the largest.
func TestArena(t *testing.T) {
	dev, err := Open("cpu", Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	w := Param(8, 8)
	if err := dev.Alloc(w, F32); err != nil {
		t.Fatal(err)
	}
	defer w.Free()
	values := make([]float32, 64)
	for i := range values {
		values[i] = float32(i%11) - 5
	}
	w.SetValues(values)
	weights, _ := Total(dev.Usage())

	fill := func(x *Tensor) {
		v := make([]float32, x.Numel())
		for i := range v {
			v[i] = float32(i%7) - 3
		}
		x.SetFloats(v)
	}
	result := func(n int) []float32 {
		x, y := planGraph(t, dev, w, n)
		p, err := y.Graph().Compile(dev, y)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		fill(x)
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		return y.Values()
	}
	a := dev.NewArena()
	type prog struct {
		p    *Program
		x, y *Tensor
	}
	compile := func(n int) (q prog) {
		q.x, q.y = planGraph(t, dev, w, n)
		if q.p, err = q.y.Graph().CompileIn(a, q.y); err != nil {
			t.Fatal(err)
		}
		fill(q.x)
		return q
	}
	first := compile(10)
	big := compile(300)
	if !first.p.Closed() || big.p.Closed() {
		t.Errorf("got closed %t, %t; want the first to be closed as the arena grew", first.p.Closed(), big.p.Closed())
	}
	if err := first.p.Run(); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("got %v from a closed program", err)
	}
	size := a.Size()
	small := compile(20)
	if small.p.Closed() || big.p.Closed() || a.Size() != size || small.p.Scratch != size {
		t.Errorf("got an arena of %d bytes and closed %t, %t; want %d bytes and both open", a.Size(), small.p.Closed(), big.p.Closed(), size)
	}
	for range 2 { // in turn
		for n, q := range map[int]prog{300: big, 20: small} {
			if err := q.p.Run(); err != nil {
				t.Fatal(err)
			}
			if got, want := q.y.Values(), result(n); !slices.Equal(got, want) {
				t.Errorf("%d rows: got %v…, want %v…", n, got[:4], want[:4])
			}
		}
	}
	if bytes, _ := Total(dev.Usage()); bytes != weights+size {
		t.Errorf("got %d bytes in use, want %d", bytes, weights+size)
	}
	big.p.Close()
	a.Close()
	a.Close()
	if bytes, _ := Total(dev.Usage()); bytes != weights || !small.p.Closed() {
		t.Errorf("got %d bytes in use after the arena is closed, want %d", bytes, weights)
	}
}

// The least of what the machine and the control groups leave.
func TestLinuxMemory(t *testing.T) {
	files := func(more ...string) fstest.MapFS {
		fs := fstest.MapFS{"proc/meminfo": {Data: []byte("MemTotal:  1000 kB\nMemFree:  10 kB\nMemAvailable:  800 kB\n")}}
		for i := 0; i < len(more); i += 2 {
			fs[more[i]] = &fstest.MapFile{Data: []byte(more[i+1])}
		}
		return fs
	}
	const k = 1024
	for name, tt := range map[string]struct {
		fs          fstest.MapFS
		free, total int
	}{
		"nothing known": {fstest.MapFS{}, 0, 0},
		"no group":      {files(), 800 * k, 1000 * k},
		"no limit":      {files("proc/self/cgroup", "0::/a\n", "sys/fs/cgroup/a/memory.max", "max\n"), 800 * k, 1000 * k},
		"version 2": {files("proc/self/cgroup", "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max", "102400\n", "sys/fs/cgroup/a/b/memory.current", "51200\n",
			"sys/fs/cgroup/a/b/memory.stat", "anon 1\ninactive_file 1024\nactive_file 2048\n"), 102400 - 51200 + 3072, 102400},
		"the outer group": {files("proc/self/cgroup", "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max", "204800\n", "sys/fs/cgroup/a/memory.max", "409600\n",
			"sys/fs/cgroup/a/memory.current", "404480\n"), 5120, 204800},
		"a container":         {files("proc/self/cgroup", "0::/docker/1\n", "sys/fs/cgroup/memory.max", "4096\n", "sys/fs/cgroup/memory.current", "1\n"), 4095, 4096},
		"version 1":           {files("proc/self/cgroup", "3:cpu:/x\n2:memory:/m\n", "sys/fs/cgroup/memory/m/memory.limit_in_bytes", "5000\n", "sys/fs/cgroup/memory/m/memory.usage_in_bytes", "4000\n", "sys/fs/cgroup/memory/m/memory.stat", "total_inactive_file 500\n"), 1500, 5000},
		"version 1, no limit": {files("proc/self/cgroup", "2:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"), 800 * k, 1000 * k},
		"used up":             {files("proc/self/cgroup", "0::/\n", "sys/fs/cgroup/memory.max", "4096\n", "sys/fs/cgroup/memory.current", "5000\n"), 0, 4096},
	} {
		if free, total := linuxMemory(tt.fs); free != tt.free || total != tt.total {
			t.Errorf("%s: got %d of %d bytes, want %d of %d", name, free, total, tt.free, tt.total)
		}
	}
}
