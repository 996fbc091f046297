package server

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// Keys are who may ask, read from a file that is read again when it changes. A line is
//
//	sha256:HEX NAME [admin]
//
// with the SHA-256 of a key: keys are 256 random bits, which nobody finds by trying, so a
// slow hash would protect nothing more. Empty lines and those that begin with # are passed over.
type Keys struct {
	path string

	mu      sync.Mutex
	keys    []key
	stamp   fileStamp
	checked time.Time
}

type key struct {
	hash  [sha256.Size]byte
	name  string
	admin bool
}

type fileStamp struct {
	size int64
	time time.Time
}

// ReadKeys reads a file of keys.
func ReadKeys(path string) (*Keys, error) {
	k := &Keys{path: path}
	return k, k.read()
}

// OneKey is a single key that is known as it is, not an administrator's.
func OneKey(text, name string) *Keys {
	return &Keys{keys: []key{{hash: sha256.Sum256([]byte(text)), name: name}}}
}

func (k *Keys) read() error {
	info, err := os.Stat(k.path)
	if err != nil {
		return fmt.Errorf("the file of API keys: %w", err)
	}
	if info.Mode().Perm()&0o002 != 0 {
		return fmt.Errorf("%s: everybody may write to this file of API keys; chmod o-w it", k.path)
	}
	b, err := os.ReadFile(k.path)
	if err != nil {
		return fmt.Errorf("the file of API keys: %w", err)
	}
	keys, err := parseKeys(b)
	if err != nil {
		return fmt.Errorf("%s: %w", k.path, err)
	}
	k.keys, k.stamp = keys, fileStamp{info.Size(), info.ModTime()}
	return nil
}

func parseKeys(b []byte) (keys []key, err error) {
	lines := bufio.NewScanner(bytes.NewReader(b))
	for n := 1; lines.Scan(); n++ {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		sum, ok := strings.CutPrefix(fields[0], "sha256:")
		hash, err := hex.DecodeString(sum)
		if !ok || err != nil || len(hash) != sha256.Size || len(fields) < 2 || len(fields) > 3 || len(fields) == 3 && fields[2] != "admin" {
			return nil, fmt.Errorf("line %d: \"sha256:HEX NAME\", or that and \"admin\", wanted; litgpt serve --make_key NAME writes such a line", n)
		}
		keys = append(keys, key{hash: [sha256.Size]byte(hash), name: fields[1], admin: len(fields) == 3})
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("no keys; litgpt serve --make_key NAME adds one")
	}
	return keys, nil
}

// find returns whom a key belongs to. How long it takes does not depend on which bytes are
// right: hashes are compared whole, all of them.
func (k *Keys) find(text string) (found key, ok bool) {
	k.refresh()
	hash := sha256.Sum256([]byte(text))
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, one := range k.keys {
		if subtle.ConstantTimeCompare(one.hash[:], hash[:]) == 1 {
			found, ok = one, true
		}
	}
	return found, ok
}

// refresh reads the file again if it changed, at most once a second. A file that cannot be
// read leaves the keys that are known: nobody is locked out by a half-written one.
func (k *Keys) refresh() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.path == "" || time.Since(k.checked) < time.Second {
		return
	}
	k.checked = time.Now()
	if info, err := os.Stat(k.path); err == nil && (fileStamp{info.Size(), info.ModTime()}) != k.stamp {
		k.read()
	}
}

// MakeKey adds a key to a file, which it makes if need be, and returns it: nothing else
// will ever show it.
func MakeKey(path, name string, admin bool) (string, error) {
	if !namePattern.MatchString(name) {
		return "", fmt.Errorf("the key's name %q must be letters, digits and . _ : / @ + -", clip(name))
	}
	var b [32]byte
	rand.Read(b[:])
	text := "sk-litgpt-" + base64.RawURLEncoding.EncodeToString(b[:])
	sum := sha256.Sum256([]byte(text))
	line := "sha256:" + hex.EncodeToString(sum[:]) + " " + name
	if admin {
		line += " admin"
	}
	if old, err := os.ReadFile(path); err == nil {
		if keys, err := parseKeys(old); err == nil {
			for _, k := range keys {
				if k.name == name {
					return "", fmt.Errorf("%s has a key named %q already; choose another name, or delete its line", path, name)
				}
			}
		}
		if len(old) > 0 && old[len(old)-1] != '\n' {
			line = "\n" + line
		}
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	if _, err := f.WriteString(line + "\n"); err != nil {
		f.Close()
		return "", err
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return "", err
	}
	return text, f.Close()
}

// authorize checks the key of a request: "Authorization: Bearer KEY" or "X-Api-Key: KEY".
func (s *Server) authorize(r *http.Request, a access) error {
	switch {
	case a == open, a == keyed && s.c.Keys == nil:
		return nil
	case a == admin && s.c.Keys == nil:
		return &Error{Status: http.StatusForbidden, Type: "permission_error", Code: "no_admin", Message: "models are administered with a key; start the server with --api_keys"}
	}
	text, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !bearer {
		text = r.Header.Get("X-Api-Key")
	}
	k, ok := s.c.Keys.find(strings.TrimSpace(text))
	if !ok {
		return &Error{Status: http.StatusUnauthorized, Type: "authentication_error", Code: "invalid_api_key", Message: "the API key is missing or wrong; send it as Authorization: Bearer KEY"}
	}
	note(r.Context(), "key", k.name)
	if a == admin && !k.admin {
		return &Error{Status: http.StatusForbidden, Type: "permission_error", Code: "no_admin", Message: "this key is not an administrator's"}
	}
	return nil
}
