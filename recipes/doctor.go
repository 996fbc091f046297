package recipes

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/cpu"

	"github.com/litgpt-go/litgpt/internal/tensor"
)

// Doctor says what this program and this machine are: "litgpt doctor".
type Doctor struct {
	JSON bool `yaml:"json" help:"print one JSON object instead of text"`
}

// diagnosis is what doctor found. Memory is in bytes; 0 means not known.
type diagnosis struct {
	Version string   `json:"version"`
	Go      string   `json:"go"`
	GGML    string   `json:"ggml"`  // module and version
	Build   []string `json:"build"` // settings that shape the code: CGO_CFLAGS=…, GOAMD64=…
	CPU     struct {
		Model      string   `json:"model"`
		Processors int      `json:"processors"`
		Compiled   []string `json:"compiled"` // vector instructions in the program
		Present    []string `json:"present"`  // and in the processor
	} `json:"cpu"`
	Memory struct {
		Free  int `json:"free"`
		Total int `json:"total"`
	} `json:"memory"`
	CUDA       tensor.CUDAInfo  `json:"cuda"`
	Kernel     string           `json:"kernel_driver"` // version of the NVIDIA driver in the kernel; empty without one
	Operations []tensor.OpPlace `json:"operations"`
	Warnings   []warning        `json:"warnings"`
}

// warning is something that is not as it should be, and what to do about it.
type warning struct {
	Problem string `json:"problem"`
	Advice  string `json:"advice"`
	broken  bool   // the command fails
}

// brokenError is the error of a machine on which something is there and does not work.
type brokenError struct{ warning }

func (e *brokenError) Error() string  { return e.Problem }
func (e *brokenError) Advice() string { return e.warning.Advice }

// Run prints what there is, and what is wrong with it. Without a GPU all is well;
// it is an error when there is a driver, and the library cannot use it.
// version is that of the program.
func (c Doctor) Run(version string, out io.Writer) error {
	d, err := examine(version, os.DirFS("/"))
	if err != nil {
		return err
	}
	d.judge(tensor.SlowBuild(), os.Getenv("CUDA_VISIBLE_DEVICES"))
	if c.JSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		err = e.Encode(d)
	} else {
		err = d.write(out)
	}
	var broken []error
	for _, w := range d.Warnings {
		if w.broken {
			broken = append(broken, &brokenError{w})
		}
	}
	return errors.Join(append(broken, err)...)
}

// examine collects what can be asked; root is the file system's, for /proc.
func examine(version string, root fs.FS) (diagnosis, error) {
	d := diagnosis{Version: version, Go: runtime.Version(), Kernel: kernelDriver(root), CUDA: tensor.CUDA()}
	if info, ok := debug.ReadBuildInfo(); ok {
		d.GGML, d.Build = built(info)
	}
	d.CPU.Model, d.CPU.Processors = cpuModel(root), runtime.NumCPU()
	d.CPU.Compiled, d.CPU.Present = tensor.Features(), present()
	dev, err := tensor.Open("cpu", tensor.Options{Threads: 1})
	if err != nil {
		return d, err
	}
	d.Memory.Free, d.Memory.Total = dev.Memory()
	dev.Close()
	d.Operations = tensor.Placement()
	if d.CUDA.Devices == nil {
		d.CUDA.Devices = []tensor.GPU{} // [] in JSON, not null
	}
	return d, nil
}

// built gives the module that GGML comes from, and the settings of the build that shape the code.
func built(info *debug.BuildInfo) (module string, settings []string) {
	for _, m := range info.Deps {
		if m.Path == "github.com/ollama/ollama" {
			module = m.Path + " " + m.Version
		}
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "CGO_CFLAGS", "CGO_CXXFLAGS", "CGO_LDFLAGS", "GOAMD64", "GOARM64", "-tags", "-ldflags":
			if s.Value != "" {
				settings = append(settings, s.Key+"="+s.Value)
			}
		}
	}
	return module, settings
}

// kernelDriver is the version of NVIDIA's kernel module, e.g. "580.65.06".
func kernelDriver(root fs.FS) string {
	text, err := fs.ReadFile(root, "proc/driver/nvidia/version")
	if err != nil {
		if _, err := fs.Stat(root, "dev/dxg"); err == nil {
			return "of Windows" // where WSL's Linux has a device in its place
		}
		return ""
	}
	// NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build …
	line, _, _ := strings.Cut(string(text), "\n")
	for _, f := range strings.Fields(line) {
		if strings.Trim(f, "0123456789.") == "" && strings.Contains(f, ".") {
			return f
		}
	}
	return "unknown"
}

// cpuModel is the processor's name, where /proc says it.
func cpuModel(root fs.FS) string {
	f, err := root.Open("proc/cpuinfo")
	if err != nil {
		return ""
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if key, value, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// present names the vector instructions of the processor that GGML has code for.
func present() (f []string) {
	for _, x := range []struct {
		name string
		has  bool
	}{{"avx2", cpu.X86.HasAVX2}, {"fma", cpu.X86.HasFMA}, {"f16c", cpu.X86.HasF16C},
		{"avx512", cpu.X86.HasAVX512F}, {"avx512_bf16", cpu.X86.HasAVX512BF16}, {"neon", cpu.ARM64.HasASIMD}} {
		if x.has {
			f = append(f, x.name)
		}
	}
	return f
}

// little is the memory in bytes below which even small models do not train.
const little = 2 << 30

// judge adds the warnings. slow is what is wrong with the build, visible the
// value of CUDA_VISIBLE_DEVICES.
func (d *diagnosis) judge(slow, visible string) {
	warn := func(broken bool, problem, advice string) {
		d.Warnings = append(d.Warnings, warning{problem, advice, broken})
	}
	if slow != "" {
		warn(false, slow, "make build")
	}
	if d.Memory.Total > 0 && d.Memory.Free < little {
		warn(false, fmt.Sprintf("little memory: %s free of %s", gib(d.Memory.Free), gib(d.Memory.Total)), "end other programs; --precision bf16-true and a smaller --train.micro_batch_size need less")
	}
	c := d.CUDA
	for _, g := range c.Devices {
		if g.Free > 0 && g.Free < g.Total/2 {
			warn(false, fmt.Sprintf("GPU %d has %s free of %s", g.Index, gib(g.Free), gib(g.Total)), "nvidia-smi lists the programs that use it")
		}
	}
	// The driver's library alone, as in images for containers, does not make a GPU.
	driver := d.Kernel != ""
	switch {
	case c.Problem == "":
	case c.Path == "" && driver:
		warn(false, "there is an NVIDIA driver, and no CUDA library: "+c.Problem, "make cuda (docs/cuda.md)")
	case c.Path == "":
		// Neither: a machine without a GPU.
	case !driver:
		warn(false, c.Problem, "without a GPU in this machine nothing is to be done; with one install NVIDIA's driver")
	case c.Driver == "" && c.Build != "": // the kernel has the driver, this process does not find its library
		warn(true, c.Problem, fmt.Sprintf("the kernel has driver %s, but libcuda.so.1 is not found: in a container, start it with --gpus all", d.Kernel))
	case c.Driver != "" && visible != "" && len(c.Devices) == 0:
		warn(false, c.Problem, fmt.Sprintf("CUDA_VISIBLE_DEVICES=%s hides the GPUs", visible))
	default:
		warn(true, c.Problem, "docs/cuda.md lists the messages and what to do")
	}
}

func gib(bytes int) string { return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30)) }

// write prints the diagnosis for people.
func (d *diagnosis) write(w io.Writer) error {
	var b strings.Builder
	line := func(name, format string, a ...any) { fmt.Fprintf(&b, "%-9s %s\n", name, fmt.Sprintf(format, a...)) }
	or := func(s, other string) string {
		if s == "" {
			return other
		}
		return s
	}
	line("program", "%s", d.Version)
	line("GGML", "%s", or(d.GGML, "unknown version"))
	line("build", "%s", or(strings.Join(d.Build, "\n          "), "settings not recorded"))
	line("CPU", "%s, %d processors", or(d.CPU.Model, "unknown model"), d.CPU.Processors)
	line("", "has %s; this program uses %s", or(strings.Join(d.CPU.Present, " "), "no vector instructions known"), or(strings.Join(d.CPU.Compiled, " "), "none"))
	if d.Memory.Total > 0 {
		line("memory", "%s free of %s", gib(d.Memory.Free), gib(d.Memory.Total))
	} else {
		line("memory", "unknown")
	}
	name := "library"
	for _, path := range d.CUDA.Searched {
		state := "not there"
		if path == d.CUDA.Path {
			state = "found"
		}
		line(name, "%s: %s", path, state)
		name = ""
		if path == d.CUDA.Path { // those after it are not looked at
			break
		}
	}
	if d.CUDA.Build != "" {
		line("", "%s", d.CUDA.Build)
	}
	switch {
	case d.CUDA.Driver != "" && d.Kernel != "":
		line("driver", "CUDA %s, kernel module %s", d.CUDA.Driver, d.Kernel)
	case d.CUDA.Driver != "":
		line("driver", "CUDA %s", d.CUDA.Driver)
	case d.Kernel != "":
		line("driver", "kernel module %s", d.Kernel)
	default:
		line("driver", "none")
	}
	name = "GPU"
	for _, g := range d.CUDA.Devices {
		memory := gib(g.Total)
		if g.Free > 0 {
			memory = fmt.Sprintf("%s free of %s", gib(g.Free), gib(g.Total))
		}
		line(name, "cuda:%d %s, compute capability %s, %s", g.Index, g.Name, g.Compute, memory)
		name = ""
	}
	if len(d.CUDA.Devices) == 0 {
		line("GPU", "none: %s", or(d.CUDA.Problem, "no device"))
	}

	rows := append([]tensor.OpPlace{{Op: "operation", CPU: "on the CPU", CUDA: "on a GPU"}}, d.Operations...)
	var width [2]int
	for _, r := range rows {
		width = [2]int{max(width[0], len([]rune(r.Op))), max(width[1], len([]rune(r.CPU)))}
	}
	b.WriteByte('\n')
	for _, r := range rows {
		fmt.Fprintf(&b, "%-*s  %-*s  %s\n", width[0], r.Op, width[1], r.CPU, r.CUDA)
	}
	for i, x := range d.Warnings {
		if i == 0 {
			b.WriteByte('\n')
		}
		if !x.broken { // what is broken is printed as the command's error
			fmt.Fprintf(&b, "warning: %s\n   hint: %s\n", x.Problem, x.Advice)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
