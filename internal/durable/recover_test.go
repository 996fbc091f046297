package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

var errCrash = errors.New("crash")

// die is what the end of the process does to a Dir: its lock and its files go.
func die(d *Dir) {
	if d.held != nil {
		d.held.Close()
	}
}

// A crash at every point of writing a version leaves the old one or the new one,
// complete, after Recover, and nothing else.
func TestCrash(t *testing.T) {
	unsupported := func(a, b string) error { return errors.ErrUnsupported }
	for _, c := range []struct {
		name     string
		exchange func(a, b string) error
		foreign  bool // there is a file of somebody else in the old version
		points   []string
	}{
		{"exchange", exchange, false, []string{"files written", "manifest begun", "manifest written", "placed"}},
		{"no exchange", unsupported, false, []string{"files written", "manifest begun", "manifest written", "old version aside", "placed"}},
		{"foreign file", exchange, true, []string{"files written", "manifest begun", "manifest written", "old version kept", "placed"}},
	} {
		for _, old := range []bool{false, true} {
			for n, point := range c.points {
				if !old && (c.foreign || strings.HasPrefix(point, "old")) {
					continue
				}
				t.Run(fmt.Sprintf("%s/old %v/%s", c.name, old, point), func(t *testing.T) {
					path := filepath.Join(t.TempDir(), "final")
					if old {
						check0(t, version(t, path, "old").Commit())
					}
					if c.foreign {
						write(t, filepath.Join(path, "notes"), "mine")
					}
					d := version(t, path, "new")
					d.exchange = c.exchange
					var passed []string
					d.reached = func(p string) error {
						passed = append(passed, p)
						if p == point {
							return errCrash
						}
						return nil
					}
					if err := d.Commit(); !errors.Is(err, errCrash) {
						t.Fatalf("got %v, want a crash; passed %q", err, passed)
					}
					if old && !slices.Equal(passed, c.points[:n+1]) {
						t.Fatalf("passed %q, want %q", passed, c.points[:n+1])
					}
					die(d)
					if old && !strings.HasPrefix(point, "old version") {
						check0(t, VerifySizes(path)) // even before Recover
					}
					check0(t, Recover(path))
					check0(t, Recover(path)) // a second time there is nothing to do

					arrived := point == "placed" || strings.HasPrefix(point, "old version") || !old && point == "manifest written"
					switch {
					case arrived && c.foreign:
						has(t, path, "new", "final.old-1")
						if got := tree(t, path+".old-1")["notes"]; got != "mine" {
							t.Errorf("notes: got %q, want mine", got)
						}
					case arrived:
						has(t, path, "new")
					case c.foreign:
						if got := tree(t, path); got["notes"] != "mine" || got["a.txt"] != "old" {
							t.Errorf("got %.100q, want the old version and notes", got)
						}
					case old:
						has(t, path, "old")
					default:
						if got := names(t, filepath.Dir(path)); len(got) != 0 {
							t.Errorf("left are %q, want nothing", got)
						}
					}
					// And the next writer does its work.
					check0(t, version(t, path, "next").Commit())
					if err := Verify(path); err != nil {
						t.Error(err)
					}
				})
			}
		}
	}
}

// A crash while files are being written, before Commit.
func TestCrashWhileWriting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "final")
	check0(t, version(t, path, "one").Commit())
	d := version(t, path, "two")
	f, err := d.Create("c.txt")
	check0(t, err)
	io.WriteString(f, "half")
	defer f.Close()
	die(d)
	has(t, path, "one", filepath.Base(d.tmp))
	check0(t, Recover(path))
	has(t, path, "one")
}

// States that Recover may find.
func TestRecover(t *testing.T) {
	const tmp1, tmp2, aside1, aside2 = ".final.tmp-0000000000000001", ".final.tmp-0000000000000002", ".final.old-0000000000000001", ".final.old-0000000000000002"
	for name, c := range map[string]struct {
		states map[string]string // name: text of a complete version, "-" half of one, "file" a file
		want   string            // text at path, "" for nothing
		others []string
	}{
		"nothing":                         {nil, "", nil},
		"only the directory":              {map[string]string{"final": "now"}, "now", nil},
		"complete temporary ones go":      {map[string]string{"final": "now", tmp1: "x", aside1: "y"}, "now", nil},
		"halves go":                       {map[string]string{"final": "now", tmp1: "-", aside1: "-"}, "now", nil},
		"files go":                        {map[string]string{"final": "now", tmp1: "file"}, "now", nil},
		"half only":                       {map[string]string{tmp1: "-"}, "", nil},
		"aside is restored":               {map[string]string{aside1: "old", tmp1: "-"}, "old", nil},
		"new arrives":                     {map[string]string{aside1: "old", tmp1: "new"}, "new", nil},
		"new arrives without an old":      {map[string]string{tmp1: "new"}, "new", nil},
		"an aside half removed does not":  {map[string]string{aside1: "-"}, "", nil},
		"the complete aside of two":       {map[string]string{aside1: "-", aside2: "old"}, "old", nil},
		"the complete new one of two":     {map[string]string{tmp1: "-", tmp2: "new"}, "new", nil},
		"others of similar names survive": {map[string]string{"final": "now", ".final2.tmp-0000000000000001": "-", ".final.tmp-1": "file", "final.old-1": "-"}, "now", []string{".final2.tmp-0000000000000001", ".final.tmp-1", "final.old-1"}},
	} {
		t.Run(name, func(t *testing.T) {
			base := t.TempDir()
			for state, text := range c.states {
				at := filepath.Join(base, state)
				switch text {
				case "-":
					write(t, filepath.Join(at, "a.txt"), "half")
				case "file":
					write(t, at, "half")
				default:
					check0(t, version(t, at, text).Commit())
				}
			}
			path := filepath.Join(base, "final")
			check0(t, Recover(path))
			if c.want != "" {
				has(t, path, c.want, c.others...)
			} else if got := names(t, base); len(got) > 0 {
				t.Errorf("left are %q, want nothing", got)
			}
		})
	}
	check0(t, Recover(filepath.Join(t.TempDir(), "no", "such", "place")))
	check0(t, RecoverAll(filepath.Join(t.TempDir(), "no")))
}

// Files written alone leave files behind.
func TestRecoverFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	write(t, path, "now")
	write(t, sibling(path, tmpMark), "half")
	check0(t, Recover(path))
	if got := tree(t, filepath.Dir(path)); len(got) != 1 || got["config.json"] != "now" {
		t.Errorf("got %q, want config.json alone", got)
	}
}

// Recover in another process, or another goroutine, leaves a living writer alone.
func TestRecoverBesideWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "final")
	d := version(t, path, "new")
	if d.held == nil {
		t.Skip("no locks on directories here")
	}
	check0(t, Recover(path))
	check0(t, d.Commit())
	has(t, path, "new")
	d = version(t, path, "newer") // the lock of the first is gone
	check0(t, RecoverAll(filepath.Dir(path)))
	die(d)
	check0(t, RecoverAll(filepath.Dir(path)))
	has(t, path, "new")
}

func TestRecoverAll(t *testing.T) {
	base := t.TempDir()
	check0(t, version(t, filepath.Join(base, "step-1"), "one").Commit())
	check0(t, version(t, sibling(filepath.Join(base, "step-2"), asideMark), "two").Commit())
	write(t, filepath.Join(sibling(filepath.Join(base, "step-3"), tmpMark), "a.txt"), "half")
	check0(t, RecoverAll(base))
	has(t, filepath.Join(base, "step-1"), "one", "step-2")
	has(t, filepath.Join(base, "step-2"), "two", "step-1")
}

// Others see the old version or the new one, whole, at every moment.
func TestReadersDuringCommits(t *testing.T) {
	base := t.TempDir()
	path := filepath.Join(base, "final")
	if err := exchange(mkdir(t, base, "x"), mkdir(t, base, "y")); errors.Is(err, errors.ErrUnsupported) {
		t.Skip("directories cannot be exchanged here: there is a moment without one")
	}
	check0(t, version(t, path, "0").Commit())
	var done atomic.Bool
	failures := make(chan error, 3)
	for range cap(failures) {
		go func() {
			seen := 0
			for !done.Load() || seen == 0 {
				if err := Verify(path); err != nil {
					failures <- err
					return
				}
				if err := readWhole(path); err != nil {
					failures <- err
					return
				}
				seen++
			}
			failures <- nil
		}()
	}
	for n := range 25 {
		check0(t, version(t, path, fmt.Sprint(n%10)).Commit())
	}
	done.Store(true)
	for range cap(failures) {
		if err := <-failures; err != nil {
			t.Error(err)
		}
	}
}

func mkdir(t *testing.T, base, name string) string {
	t.Helper()
	path := filepath.Join(base, name)
	check0(t, os.Mkdir(path, 0o755))
	return path
}

// readWhole opens path as a careful reader does and demands that both files are of one version.
func readWhole(path string) error {
	for {
		root, err := os.OpenRoot(path)
		if err != nil {
			return err
		}
		a, e1 := root.ReadFile("a.txt")
		b, e2 := root.ReadFile("sub/b.txt")
		root.Close()
		switch err := errors.Join(e1, e2); {
		case errors.Is(err, fs.ErrNotExist):
			continue // this version was removed after it was replaced: the next one
		case err != nil:
			return err
		case string(b) != strings.Repeat(string(a), 1000):
			return fmt.Errorf("a is %q, but b is %.10q…, %d bytes", a, b, len(b))
		}
		return nil
	}
}

func TestLatest(t *testing.T) {
	base := t.TempDir()
	for _, name := range []string{"step-000100", "step-000200", "step-900", "step-1000", "step-1001", "final", "step-", "step-2000x", "xstep-3000"} {
		check0(t, version(t, filepath.Join(base, name), "x").Commit())
	}
	expect := func(step int, dir string) {
		t.Helper()
		got, n, ok, err := Latest(base, "step-")
		if want := filepath.Join(base, dir); got != want || n != step || !ok || err != nil {
			t.Errorf("got %s, %d, %v, %v, want %s, %d", got, n, ok, err, want, step)
		}
	}
	expect(1001, "step-1001")
	check0(t, os.Remove(filepath.Join(base, "step-1001", manifestName)))
	expect(1000, "step-1000")
	check0(t, os.Truncate(filepath.Join(base, "step-1000", "a.txt"), 0))
	expect(900, "step-900")
	check0(t, os.RemoveAll(filepath.Join(base, "step-900")))
	expect(200, "step-000200")
	write(t, filepath.Join(base, "step-5000"), "a file")
	write(t, filepath.Join(base, "step-99999999999999999999", "a.txt"), "too large")
	expect(200, "step-000200")

	for name, dir := range map[string]string{"empty": t.TempDir(), "missing": filepath.Join(base, "no")} {
		if got, n, ok, err := Latest(dir, "step-"); got != "" || n != 0 || ok || err != nil {
			t.Errorf("%s: got %q, %d, %v, %v, want none", name, got, n, ok, err)
		}
	}
	if _, _, ok, err := Latest(filepath.Join(base, "step-5000"), "step-"); ok || err == nil {
		t.Errorf("a file as parent: got %v, %v, want an error", ok, err)
	}
}
