package recipes

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"

	"github.com/litgpt-go/litgpt/internal/durable"
	"github.com/litgpt-go/litgpt/internal/repl"
)

// chatSettings are what /set changes in a chat: the settings of sampling, by the names of their flags.
type chatSettings struct{ m *chatModel }

// Settings implements repl.Settings.
func (s chatSettings) Settings() (list []repl.Setting) {
	v := reflect.ValueOf(s.m.c.Sampling)
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag
		list = append(list, repl.Setting{Name: tag.Get("yaml"), Value: fmt.Sprint(v.Field(i)), Help: tag.Get("help")})
	}
	return list
}

// Set implements repl.Settings. What cannot be leaves all as it was.
func (s chatSettings) Set(name, value string) error {
	changed := s.m.c.Sampling
	v := reflect.ValueOf(&changed).Elem()
	for i := range v.NumField() {
		if v.Type().Field(i).Tag.Get("yaml") != name {
			continue
		}
		switch f := v.Field(i); f.Kind() {
		case reflect.Float64:
			x, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return fmt.Errorf("%s is a number, got %.40q", name, value)
			}
			f.SetFloat(x)
		default:
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil || int64(int(n)) != n {
				return fmt.Errorf("%s is a whole number, got %.40q", name, value)
			}
			f.SetInt(n)
		}
		if err := changed.check(); err != nil {
			return fmt.Errorf("%s", strings.TrimPrefix(err.Error(), "--"))
		}
		if s.m.c.Sampling = changed; name == "seed" {
			s.m.turns = 0 // a seed that is set again gives the same answers again
		}
		return nil
	}
	return fmt.Errorf("there is no setting %.40q", name)
}

// chatFiles keep conversations, for nobody else to read.
type chatFiles struct{}

// maxChat is the size of a saved conversation: far more than a context, far less than memory.
const maxChat = 64 << 20

// Read implements repl.Files.
func (chatFiles) Read(name string) ([]byte, error) {
	name = home(name)
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxChat {
		return nil, fmt.Errorf("%s is no file of at most %d MiB", name, maxChat>>20)
	}
	return os.ReadFile(name)
}

// Write implements repl.Files.
func (chatFiles) Write(name string, data []byte) error {
	return durable.WriteFile(home(name), data, 0o600)
}

// home puts the user's folder in the place of ~/, as a shell would.
func home(name string) string {
	rest, ok := strings.CutPrefix(name, "~/")
	dir, err := os.UserHomeDir()
	if !ok || err != nil {
		return name
	}
	return filepath.Join(dir, rest)
}
