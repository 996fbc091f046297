package tensor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/litgpt-go/litgpt/internal/ggml"
)

// Library is the file name of the CUDA library, which `make cuda` builds.
const Library = "libggml-cuda.so"

// GPU describes one device.
type GPU struct {
	Index   int    `json:"index"`
	Name    string `json:"name"`
	Compute string `json:"compute"` // capability, e.g. "9.0"
	Total   int    `json:"total"`   // bytes
	Free    int    `json:"free"`    // bytes; 0 when it cannot be asked
}

// CUDAInfo says what there is of CUDA, and what is missing.
type CUDAInfo struct {
	Searched []string `json:"searched"` // where the library was looked for
	Path     string   `json:"path"`     // where it was found
	Build    string   `json:"build"`    // compiler and architectures
	Driver   string   `json:"driver"`   // version of CUDA that the driver has; empty without one
	Problem  string   `json:"problem"`  // in one line why no GPU can be used; empty when one can
	Devices  []GPU    `json:"devices"`
}

// library finds and loads the library once; what it found does not change while the program runs.
var library = sync.OnceValue(func() (l struct {
	lib     *ggml.Library
	info    CUDAInfo
	devices int
}) {
	l.info.Searched = libraryPlaces()
	for _, path := range l.info.Searched {
		if _, err := os.Stat(path); err == nil {
			l.info.Path = path
			break
		} else if !errors.Is(err, fs.ErrNotExist) {
			l.info.Problem = err.Error()
		}
	}
	if l.info.Path == "" {
		if l.info.Problem == "" {
			l.info.Problem = fmt.Sprintf("no %s; `make cuda` builds it", Library)
			if dir := os.Getenv("LITGPT_LIB"); dir != "" {
				l.info.Problem = fmt.Sprintf("no %s in LITGPT_LIB=%s; `make cuda` builds it", Library, dir)
			}
		}
		return l
	}
	lib, err := ggml.LoadLibrary(l.info.Path)
	if err != nil {
		l.info.Problem = fmt.Sprintf("the CUDA library cannot be used: %v", err)
		return l
	}
	l.lib, l.info.Build, l.info.Driver = lib, lib.Build, lib.Driver()
	switch l.devices, err = lib.Devices(); {
	case l.info.Driver == "":
		l.info.Problem = "no NVIDIA driver: " + Library + " is there, the driver's libcuda.so.1 is not; install the driver"
	case err != nil:
		l.info.Problem = fmt.Sprintf("no usable GPU: %v (driver for CUDA %s, library %s)", err, l.info.Driver, l.info.Build)
	case l.devices == 0:
		l.info.Problem = fmt.Sprintf("no GPU (driver for CUDA %s)", l.info.Driver)
	}
	return l
})

// libraryPlaces are the files that may be the library, the first that exists wins:
// LITGPT_LIB (a file or a directory) alone when it is set; beside the program, in
// lib/litgpt under or beside its directory, in the usual places.
func libraryPlaces() []string {
	if at := os.Getenv("LITGPT_LIB"); at != "" {
		if info, err := os.Stat(at); err == nil && info.IsDir() {
			at = filepath.Join(at, Library)
		}
		return []string{at}
	}
	var places []string
	if exe, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(exe); err == nil {
			exe = real
		}
		dir := filepath.Dir(exe)
		places = append(places, filepath.Join(dir, Library), filepath.Join(dir, "lib/litgpt", Library), filepath.Join(dir, "../lib/litgpt", Library))
	}
	return append(places, filepath.Join("/usr/local/lib/litgpt", Library), filepath.Join("/usr/lib/litgpt", Library))
}

// CUDA looks for the library, the driver and the devices.
func CUDA() CUDAInfo {
	l := library()
	info := l.info
	for i := range l.devices {
		g, ok := l.lib.Info(i)
		if !ok {
			continue
		}
		gpu := GPU{Index: i, Name: g.Name, Compute: g.Compute, Total: g.Total}
		if b, err := l.lib.Open(i, false); err == nil {
			gpu.Free, _ = b.Memory()
			b.Free()
		}
		info.Devices = append(info.Devices, gpu)
	}
	return info
}

func openCUDA(i int, o Options) (*Device, error) {
	l := library()
	if l.info.Problem != "" {
		return nil, errors.New(l.info.Problem)
	}
	if i >= l.devices {
		return nil, fmt.Errorf("device cuda:%d: there are %d GPUs, cuda:0 to cuda:%d", i, l.devices, l.devices-1)
	}
	b, err := l.lib.Open(i, o.TF32)
	if err != nil {
		return nil, fmt.Errorf("device cuda:%d: %w", i, err)
	}
	return newCUDA(i, b, o), nil
}

func newCUDA(i int, b *ggml.Backend, o Options) *Device {
	return &Device{Name: fmt.Sprintf("cuda:%d", i), Threads: o.Threads, b: b, lower: lowerCUDA, dequantized: BF16}
}

// Dequantize says in which type a GPU computes products with quantized weights in programs
// that are compiled from now on: BF16, as it does when nothing is said, F16, or F32, which
// loses nothing. On the CPU all products are in F32.
func (d *Device) Dequantize(to DType) {
	if to != F32 && to != BF16 && to != F16 {
		fail(OpLeaf, "products in %v; F32, BF16 or F16 wanted", to)
	}
	for _, m := range d.Members() {
		m.dequantized = to
	}
}

// OpenLibrary opens GPU i through the library at path, wherever [Open] would look.
func OpenLibrary(path string, i int, o Options) (*Device, error) {
	lib, err := ggml.LoadLibrary(path)
	if err != nil {
		return nil, err
	}
	b, err := lib.Open(i, o.TF32)
	if err != nil {
		return nil, fmt.Errorf("device cuda:%d of %s: %w", i, path, err)
	}
	return newCUDA(i, b, o), nil
}
