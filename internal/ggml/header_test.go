package ggml

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	definition = regexp.MustCompile(`(?ms)^(enum|struct) (\w+) \{(.*?)\};\n`)
	enumerator = regexp.MustCompile(`\bGGML_\w+`)
	field      = regexp.MustCompile(`(\w+)(\[[^;]*\])?;`)
)

// headerCheck is a C file that compiles when header says what the module's headers say:
// its prototypes stand beside theirs, its enums and structs, renamed, are compared number by number.
func headerCheck(header string) string {
	var b strings.Builder
	b.WriteString("#include <stddef.h>\n#include \"ggml.h\"\n#include \"ggml-backend.h\"\n#include \"ggml-cpu.h\"\n#include \"ggml-alloc.h\"\n")
	b.WriteString(strings.ReplaceAll(definition.ReplaceAllString(header, ""), "#pragma once", ""))
	own := definition.FindAllStringSubmatch(header, -1)
	for _, d := range own {
		kind, name, body := d[1], d[2], d[3]
		for _, o := range own {
			body = regexp.MustCompile(`\b`+o[1]+` `+o[2]+`\b`).ReplaceAllString(body, o[1]+" own_"+o[2])
		}
		if kind == "enum" {
			fmt.Fprintf(&b, "enum own_%s {%s};\n", name, enumerator.ReplaceAllString(body, "OWN_$0"))
			for _, e := range enumerator.FindAllString(body, -1) {
				fmt.Fprintf(&b, "_Static_assert((int)OWN_%s == (int)%s, \"%s\");\n", e, e, e)
			}
		} else {
			fmt.Fprintf(&b, "struct own_%s {%s};\n", name, body)
			for _, f := range field.FindAllStringSubmatch(body, -1) {
				own, theirs := fmt.Sprintf("((struct own_%s *)0)->%s", name, f[1]), fmt.Sprintf("((struct %s *)0)->%s", name, f[1])
				fmt.Fprintf(&b, "_Static_assert(offsetof(struct own_%s, %s) == offsetof(struct %s, %s), \"%s.%s\");\n", name, f[1], name, f[1], name, f[1])
				fmt.Fprintf(&b, "_Static_assert(sizeof(%s) == sizeof(%s), \"size of %s.%s\");\n", own, theirs, name, f[1])
			}
		}
		fmt.Fprintf(&b, "_Static_assert(sizeof(%s own_%s) == sizeof(%s %s), \"size of %s\");\n", kind, name, kind, name, name)
	}
	return b.String()
}

// TestHeader compares cggml.h, which the bindings are compiled with, with the headers of the
// module that is pinned in go.mod, by the C compiler; and makes sure that it would see a difference.
func TestHeader(t *testing.T) {
	cc := cmp.Or(os.Getenv("CC"), "cc")
	if _, err := exec.LookPath(strings.Fields(cc)[0]); err != nil {
		t.Skipf("no C compiler: %v", err)
	}
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/ollama/ollama").Output()
	if err != nil {
		t.Skipf("go list: %v", err)
	}
	include := filepath.Join(strings.TrimSpace(string(dir)), "ml/backend/ggml/ggml/include")
	if _, err := os.Stat(filepath.Join(include, "ggml.h")); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile("cggml.h")
	if err != nil {
		t.Fatal(err)
	}
	header := string(data)
	compile := func(header string) (string, error) {
		file := filepath.Join(t.TempDir(), "check.c")
		if err := os.WriteFile(file, []byte(headerCheck(header)), 0o600); err != nil {
			t.Fatal(err)
		}
		args := append(strings.Fields(cc)[1:], "-std=c11", "-Werror", "-fsyntax-only", "-I", include, file)
		out, err := exec.Command(strings.Fields(cc)[0], args...).CombinedOutput()
		return string(out), err
	}
	if out, err := compile(header); err != nil {
		t.Fatalf("cggml.h differs from %s: %v\n%s", include, err, out)
	}
	for _, m := range []struct{ name, old, new, want string }{
		{"a parameter's type", "struct ggml_tensor *a, float s)", "struct ggml_tensor *a, double s)", "ggml_scale"},
		{"a missing parameter", "float scale, float max_bias);", "float scale);", "ggml_soft_max_ext"},
		{"a result's type", "bool ggml_gallocr_reserve(", "int ggml_gallocr_reserve(", "ggml_gallocr_reserve"},
		{"a callback's type", "int ith, int nth, void *userdata);", "int ith, void *userdata);", "ggml_custom"},
		{"a constant", "#define GGML_MAX_SRC 10", "#define GGML_MAX_SRC 11", "GGML_MAX_SRC"},
		{"an enumerator", "GGML_TYPE_BF16 = 30", "GGML_TYPE_BF16 = 31", "GGML_TYPE_BF16"},
		{"a negative enumerator", "GGML_STATUS_FAILED = -1", "GGML_STATUS_FAILED = -3", "GGML_STATUS_FAILED"},
		{"an enumerator that is not there", "GGML_TYPE_F16 = 1", "GGML_TYPE_FLOAT16 = 1", "GGML_TYPE_FLOAT16"},
		{"a missing field", "\tsize_t view_offs;\n", "", "ggml_tensor"},
		{"a field's type", "bool no_alloc;", "int no_alloc;", "ggml_init_params"},
		{"a missing field before the last", "\tuint32_t poll;\n", "", "ggml_threadpool_params"},
		{"fields exchanged", "\tint n_threads;\n\tenum ggml_sched_priority prio;", "\tenum ggml_sched_priority prio;\n\tint n_threads;", "ggml_threadpool_params"},
	} {
		t.Run(m.name, func(t *testing.T) {
			if !strings.Contains(header, m.old) {
				t.Fatalf("cggml.h has no %q", m.old)
			}
			out, err := compile(strings.ReplaceAll(header, m.old, m.new))
			if err == nil || !strings.Contains(out, m.want) {
				t.Errorf("got %v, want an error that names %s\n%s", err, m.want, out)
			}
		})
	}
}
