package gguf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"reflect"
	"unicode/utf8"
)

// Kind is the type of a metadata value, by its number in the format.
type Kind uint32

const (
	Uint8 Kind = iota
	Int8
	Uint16
	Int16
	Uint32
	Int32
	Float32
	Bool
	String
	Array
	Uint64
	Int64
	Float64
)

// kinds has, by Kind, the name, the bytes of a value (0: they vary) and the bytes
// of the smallest one.
var kinds = [...]struct {
	name      string
	size, min int
}{
	{"uint8", 1, 1}, {"int8", 1, 1}, {"uint16", 2, 2}, {"int16", 2, 2}, {"uint32", 4, 4}, {"int32", 4, 4},
	{"float32", 4, 4}, {"bool", 1, 1}, {"string", 0, 8}, {"array", 0, 12}, {"uint64", 8, 8}, {"int64", 8, 8}, {"float64", 8, 8},
}

func (k Kind) known() bool { return int(k) < len(kinds) }

// String is the name in errors: "uint32".
func (k Kind) String() string {
	if !k.known() {
		return fmt.Sprintf("type %d", uint32(k))
	}
	return kinds[k].name
}

// ErrNoKey is a key that the metadata lacks; the errors of lookups wrap it.
var ErrNoKey = errors.New("is missing from the metadata")

// Keys lists the metadata in the order of the file.
func (f *File) Keys() []string {
	keys := make([]string, len(f.head.keys))
	for i, v := range f.head.keys {
		keys[i] = v.key
	}
	return keys
}

// Has reports whether the metadata has key.
func (f *File) Has(key string) bool {
	_, ok := f.head.byKey[key]
	return ok
}

// Kind gives the type of a value; of an Array, elem is that of its elements and n
// their number. ok is false when there is no such key.
func (f *File) Kind(key string) (k, elem Kind, n int, ok bool) {
	i, ok := f.head.byKey[key]
	if !ok {
		return 0, 0, 0, false
	}
	v := f.head.keys[i]
	return v.kind, v.elem, v.n, true
}

// Text returns a string. Errors of this and of every lookup name the key:
// "general.architecture: want string, is uint32".
func (f *File) Text(key string) (string, error) {
	v, err := f.lookup(key, "string", func(k Kind) bool { return k == String })
	if err != nil {
		return "", err
	}
	b := f.text(&v.at)
	if !utf8.Valid(b) {
		return "", f.errorf("%s: is not UTF-8", key)
	}
	return string(b), nil
}

// Bool returns a truth value.
func (f *File) Bool(key string) (bool, error) {
	v, err := f.lookup(key, "bool", func(k Kind) bool { return k == Bool })
	return err == nil && f.head.meta[v.at] != 0, err
}

// Int returns an integer of any size that an int64 can hold. Programs disagree
// about the sizes they write, so that none is asked for.
func (f *File) Int(key string) (int64, error) {
	v, err := f.lookup(key, "integer", Kind.integer)
	if err != nil {
		return 0, err
	}
	n, ok := f.integer(v.kind, v.at)
	if !ok {
		return 0, f.errorf("%s: is above 9223372036854775807", key)
	}
	return n, nil
}

// Float returns a float32 or float64, or an integer as a number.
func (f *File) Float(key string) (float64, error) {
	v, err := f.lookup(key, "number", func(k Kind) bool { return k.integer() || k == Float32 || k == Float64 })
	if err != nil {
		return 0, err
	}
	return f.float(v.kind, v.at), nil
}

// Strings returns an array of texts. They need not be UTF-8: tokens are bytes.
// All share one allocation.
func (f *File) Strings(key string) ([]string, error) {
	v, err := f.array(key, "strings", func(k Kind) bool { return k == String })
	if err != nil {
		return nil, err
	}
	// The array as one string, of which each text is a part.
	end := v.at
	for range v.n {
		f.text(&end)
	}
	all := string(f.head.meta[v.at:end])
	list := make([]string, v.n)
	for i, at := 0, v.at; i < v.n; i++ {
		b := f.text(&at)
		list[i] = all[at-v.at-len(b) : at-v.at]
	}
	return list, nil
}

// Ints returns an array of integers of any size.
func (f *File) Ints(key string) ([]int64, error) {
	v, err := f.array(key, "integers", Kind.integer)
	if err != nil {
		return nil, err
	}
	list := make([]int64, v.n)
	for i := range list {
		n, ok := f.integer(v.elem, v.at+i*kinds[v.elem].size)
		if !ok {
			return nil, f.errorf("%s: element %d is above 9223372036854775807", key, i)
		}
		list[i] = n
	}
	return list, nil
}

// Floats returns an array of numbers.
func (f *File) Floats(key string) ([]float64, error) {
	v, err := f.array(key, "numbers", func(k Kind) bool { return k.integer() || k == Float32 || k == Float64 })
	if err != nil {
		return nil, err
	}
	list := make([]float64, v.n)
	for i := range list {
		list[i] = f.float(v.elem, v.at+i*kinds[v.elem].size)
	}
	return list, nil
}

// Bools returns an array of truth values.
func (f *File) Bools(key string) ([]bool, error) {
	v, err := f.array(key, "bools", func(k Kind) bool { return k == Bool })
	if err != nil {
		return nil, err
	}
	list := make([]bool, v.n)
	for i := range list {
		list[i] = f.head.meta[v.at+i] != 0
	}
	return list, nil
}

// Bytes returns an array of uint8 or int8 as it stands in the file.
func (f *File) Bytes(key string) ([]byte, error) {
	v, err := f.array(key, "uint8", func(k Kind) bool { return k == Uint8 || k == Int8 })
	if err != nil {
		return nil, err
	}
	return append([]byte(nil), f.head.meta[v.at:v.at+v.n]...), nil
}

func (k Kind) integer() bool {
	return k.known() && k != Float32 && k != Float64 && k != Bool && k != String && k != Array
}

// lookup finds a value that is no array.
func (f *File) lookup(key, want string, ok func(Kind) bool) (value, error) {
	i, found := f.head.byKey[key]
	if !found {
		return value{}, f.errorf("%s: %w", key, ErrNoKey)
	}
	v := f.head.keys[i]
	if v.kind == Array {
		return value{}, f.errorf("%s: want %s, is an array of %v", key, want, v.elem)
	}
	if !ok(v.kind) {
		return value{}, f.errorf("%s: want %s, is %v", key, want, v.kind)
	}
	return v, nil
}

func (f *File) array(key, want string, ok func(Kind) bool) (value, error) {
	i, found := f.head.byKey[key]
	if !found {
		return value{}, f.errorf("%s: %w", key, ErrNoKey)
	}
	v := f.head.keys[i]
	if v.kind != Array {
		return value{}, f.errorf("%s: want an array of %s, is %v", key, want, v.kind)
	}
	if !ok(v.elem) {
		return value{}, f.errorf("%s: want an array of %s, is one of %v", key, want, v.elem)
	}
	return v, nil
}

// text reads the string at *at and moves at behind it. parse has seen that it is
// there; a file that changed between parse and own gives less, never a panic.
func (f *File) text(at *int) []byte {
	b := f.head.meta[min(*at, len(f.head.meta)):]
	if len(b) < 8 {
		return nil
	}
	n := min(binary.LittleEndian.Uint64(b), uint64(len(b)-8))
	*at += 8 + int(n)
	return b[8 : 8+n]
}

// integer reads an integer; ok is false for one above int64.
func (f *File) integer(k Kind, at int) (n int64, ok bool) {
	b := f.head.meta[at:]
	switch k {
	case Uint8:
		return int64(b[0]), true
	case Int8:
		return int64(int8(b[0])), true
	case Uint16:
		return int64(binary.LittleEndian.Uint16(b)), true
	case Int16:
		return int64(int16(binary.LittleEndian.Uint16(b))), true
	case Uint32:
		return int64(binary.LittleEndian.Uint32(b)), true
	case Int32:
		return int64(int32(binary.LittleEndian.Uint32(b))), true
	case Int64:
		return int64(binary.LittleEndian.Uint64(b)), true
	}
	u := binary.LittleEndian.Uint64(b)
	return int64(u), u <= math.MaxInt64
}

func (f *File) float(k Kind, at int) float64 {
	b := f.head.meta[at:]
	switch k {
	case Float32:
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
	case Float64:
		return math.Float64frombits(binary.LittleEndian.Uint64(b))
	}
	n, ok := f.integer(k, at)
	if !ok {
		return float64(uint64(n))
	}
	return float64(n)
}

// KV returns a value as it is to be written: of the Go type for its kind, see KV. Arrays of arrays
// are none of those.
func (f *File) KV(key string) (KV, error) {
	i, ok := f.head.byKey[key]
	if !ok {
		return KV{}, f.errorf("%s: %w", key, ErrNoKey)
	}
	v := f.head.keys[i]
	if v.kind == String {
		return KV{key, string(f.text(&v.at))}, nil
	}
	if v.kind == Array && v.elem == String {
		list, err := f.Strings(key)
		return KV{key, list}, err
	}
	kind, n := v.kind, 1
	if kind == Array {
		kind, n = v.elem, v.n
	}
	if !kind.known() || kind == Array {
		return KV{}, f.errorf("%s: is an array of arrays", key)
	}
	raw := f.head.meta[v.at:][:n*kinds[kind].size]
	value, err := decode[kind](raw, n)
	if err == nil && v.kind != Array {
		value = reflect.ValueOf(value).Index(0).Interface()
	}
	return KV{key, value}, err
}

// decode reads n values of a kind.
var decode = map[Kind]func(raw []byte, n int) (any, error){
	Uint8: values[uint8], Int8: values[int8], Uint16: values[uint16], Int16: values[int16], Uint32: values[uint32], Int32: values[int32],
	Uint64: values[uint64], Int64: values[int64], Float32: values[float32], Float64: values[float64], Bool: values[bool],
}

func values[T any](raw []byte, n int) (any, error) {
	list := make([]T, n)
	_, err := binary.Decode(raw, binary.LittleEndian, list)
	return list, err
}
