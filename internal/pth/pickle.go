package pth

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/litgpt-go/litgpt/internal/safetensors"
)

// The values that a pickle is read into. Integers are int64, strings string, bytes
// []byte, None nil; what follows is the rest. Lists, dictionaries and tuples may hold
// each other and themselves: nothing here walks through them.
type (
	list  struct{ items []any }
	tuple []any

	// dict keeps its entries in order. index has the places of the keys that are strings.
	dict struct {
		keys, values []any
		index        map[string]int
	}

	// global is something of Python's that is known here, by its name; see globals.
	global struct{ name string }

	// inert is the result of a call whose value nobody needs, e.g. a path among a
	// training run's options.
	inert struct{ name string }

	// storage is what a persistent id names: elements in a record of the archive.
	storage struct {
		key, kind string
		dtype     safetensors.DType // "" for an untyped one, which counts bytes
		numel     int64
	}

	// rebuilt is a tensor: a view of a storage, in elements.
	rebuilt struct {
		storage       *storage
		offset        int64
		shape, stride []int64
		dtype         safetensors.DType // of an untyped storage
	}

	mark struct{}
)

func (d *dict) set(key, value any) error {
	if s, ok := key.(string); ok {
		if _, ok := d.index[s]; ok {
			return fmt.Errorf("a dictionary has the key %s twice; the file is damaged", quote(s))
		}
		if d.index == nil {
			d.index = map[string]int{}
		}
		d.index[s] = len(d.keys)
	}
	d.keys, d.values = append(d.keys, key), append(d.values, value)
	return nil
}

// describe names a value's kind, for errors.
func describe(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case string:
		return "the string " + quote(v)
	case int64, float64, bool:
		return fmt.Sprintf("the %T %v", v, v)
	case []byte:
		return "bytes"
	case *list:
		return "a list"
	case tuple:
		return "a tuple"
	case *dict:
		return "a dictionary"
	case *rebuilt:
		return "a tensor"
	case *storage:
		return "a storage"
	case global:
		return v.name
	case inert:
		return "a " + v.name
	case mark:
		return "a mark"
	}
	return fmt.Sprintf("%T", v)
}

// machine runs a pickle: a stack, and a memo of values to be used again.
// https://github.com/python/cpython/blob/main/Lib/pickletools.py describes the opcodes.
type machine struct {
	data  []byte
	at    int
	stack []any
	memo  map[uint32]any
}

// unpickle gives the value of a pickle. Every opcode pushes one value at most and copies
// none, so that memory is bounded by the length of data.
func unpickle(data []byte) (any, error) {
	m := &machine{data: data, memo: map[uint32]any{}}
	for {
		at := m.at
		op, err := m.take(1)
		if err != nil {
			return nil, err
		}
		if op[0] == '.' { // STOP
			if len(m.stack) != 1 {
				return nil, fmt.Errorf("the pickle leaves %d values, want 1; the file is damaged", len(m.stack))
			}
			return m.stack[0], nil
		}
		run, ok := opcodes[op[0]]
		if !ok {
			return nil, fmt.Errorf("byte %d: opcode %#02x is none that checkpoints are made of; refused", at, op[0])
		}
		if err := run(m); err != nil {
			return nil, fmt.Errorf("byte %d: %w", at, err)
		}
	}
}

var errEnds = errors.New("the pickle ends in the middle; the file is truncated or damaged")

func (m *machine) take(n int) ([]byte, error) {
	if n > len(m.data)-m.at {
		return nil, errEnds
	}
	b := m.data[m.at : m.at+n]
	m.at += n
	return b, nil
}

// length reads an unsigned number of size bytes, which counts bytes that follow.
func (m *machine) length(size int) (int, error) {
	b, err := m.take(size)
	if err != nil {
		return 0, err
	}
	var wide [8]byte
	copy(wide[:], b)
	n := binary.LittleEndian.Uint64(wide[:])
	if n > uint64(len(m.data)-m.at) {
		return 0, errEnds
	}
	return int(n), nil
}

func (m *machine) push(v any) error {
	m.stack = append(m.stack, v)
	return nil
}

func (m *machine) pop() (any, error) {
	if len(m.stack) == 0 {
		return nil, errors.New("a value is wanted, but the stack is empty; the file is damaged")
	}
	v := m.stack[len(m.stack)-1]
	if _, ok := v.(mark); ok {
		return nil, errors.New("a value is wanted, but a mark is on the stack; the file is damaged")
	}
	m.stack = m.stack[:len(m.stack)-1]
	return v, nil
}

// popMark takes what is above the last mark, and the mark.
func (m *machine) popMark() ([]any, error) {
	for i := len(m.stack) - 1; i >= 0; i-- {
		if _, ok := m.stack[i].(mark); ok {
			items := append([]any(nil), m.stack[i+1:]...)
			m.stack = m.stack[:i]
			return items, nil
		}
	}
	return nil, errors.New("a mark is wanted on the stack; the file is damaged")
}

// opcodes are what the protocols 2 to 5 write for the values above. INST, OBJ, NEWOBJ
// and the extension codes, which make other objects, and the texts of protocol 0 are
// missing by design.
var opcodes = map[byte]func(m *machine) error{
	0x80: func(m *machine) error { // PROTO
		b, err := m.take(1)
		if err == nil && (b[0] < 2 || b[0] > 5) {
			err = fmt.Errorf("pickle protocol %d, 2 to 5 wanted", b[0])
		}
		return err
	},
	0x95: func(m *machine) error { _, err := m.take(8); return err }, // FRAME
	'(':  func(m *machine) error { return m.push(mark{}) },
	'0':  func(m *machine) error { _, err := m.pop(); return err },
	'1':  func(m *machine) error { _, err := m.popMark(); return err },
	'N':  func(m *machine) error { return m.push(nil) },
	0x88: func(m *machine) error { return m.push(true) },
	0x89: func(m *machine) error { return m.push(false) },
	'J': func(m *machine) error { // BININT
		b, err := m.take(4)
		if err != nil {
			return err
		}
		return m.push(int64(int32(binary.LittleEndian.Uint32(b))))
	},
	'K': func(m *machine) error { // BININT1
		b, err := m.take(1)
		if err != nil {
			return err
		}
		return m.push(int64(b[0]))
	},
	'M': func(m *machine) error { // BININT2
		b, err := m.take(2)
		if err != nil {
			return err
		}
		return m.push(int64(binary.LittleEndian.Uint16(b)))
	},
	0x8a: func(m *machine) error { return m.long(1) }, // LONG1
	0x8b: func(m *machine) error { return m.long(4) }, // LONG4
	'G': func(m *machine) error { // BINFLOAT, the only number with its highest byte first
		b, err := m.take(8)
		if err != nil {
			return err
		}
		return m.push(math.Float64frombits(binary.BigEndian.Uint64(b)))
	},
	0x8c: func(m *machine) error { return m.text(1) },       // SHORT_BINUNICODE
	'X':  func(m *machine) error { return m.text(4) },       // BINUNICODE
	0x8d: func(m *machine) error { return m.text(8) },       // BINUNICODE8
	'U':  func(m *machine) error { return m.text(1) },       // SHORT_BINSTRING, of Python 2
	'T':  func(m *machine) error { return m.text(4) },       // BINSTRING
	'C':  func(m *machine) error { return m.bytes(1) },      // SHORT_BINBYTES
	'B':  func(m *machine) error { return m.bytes(4) },      // BINBYTES
	0x8e: func(m *machine) error { return m.bytes(8) },      // BINBYTES8
	0x96: func(m *machine) error { return m.bytes(8) },      // BYTEARRAY8
	')':  func(m *machine) error { return m.push(tuple{}) }, // EMPTY_TUPLE
	0x85: func(m *machine) error { return m.tuple(1) },
	0x86: func(m *machine) error { return m.tuple(2) },
	0x87: func(m *machine) error { return m.tuple(3) },
	't': func(m *machine) error { // TUPLE
		items, err := m.popMark()
		if err != nil {
			return err
		}
		return m.push(tuple(items))
	},
	']':  func(m *machine) error { return m.push(&list{}) }, // EMPTY_LIST
	0x8f: func(m *machine) error { return m.push(&list{}) }, // EMPTY_SET
	'a': func(m *machine) error { // APPEND
		v, err := m.pop()
		if err != nil {
			return err
		}
		return m.extend([]any{v})
	},
	'e':  (*machine).appends, // APPENDS
	0x90: (*machine).appends, // ADDITEMS
	'}':  func(m *machine) error { return m.push(&dict{}) },
	's': func(m *machine) error { // SETITEM
		value, err := m.pop()
		if err != nil {
			return err
		}
		key, err := m.pop()
		if err != nil {
			return err
		}
		return m.setItems([]any{key, value})
	},
	'u': func(m *machine) error { // SETITEMS
		items, err := m.popMark()
		if err != nil {
			return err
		}
		return m.setItems(items)
	},
	'q':  func(m *machine) error { return m.put(1) },
	'r':  func(m *machine) error { return m.put(4) },
	0x94: func(m *machine) error { return m.remember(uint32(len(m.memo))) }, // MEMOIZE
	'h':  func(m *machine) error { return m.get(1) },
	'j':  func(m *machine) error { return m.get(4) },
	'c': func(m *machine) error { // GLOBAL: two lines, the module and the name in it
		module, err := m.line()
		if err != nil {
			return err
		}
		name, err := m.line()
		if err != nil {
			return err
		}
		return m.global(module, name)
	},
	0x93: func(m *machine) error { // STACK_GLOBAL
		name, err := m.pop()
		if err != nil {
			return err
		}
		module, err := m.pop()
		if err != nil {
			return err
		}
		a, ok := module.(string)
		b, ok2 := name.(string)
		if !ok || !ok2 {
			return fmt.Errorf("a module and a name wanted, got %s and %s", describe(module), describe(name))
		}
		return m.global(a, b)
	},
	'R': (*machine).reduce,
	'b': (*machine).build,
	'Q': (*machine).persistent,
}

func (m *machine) long(size int) error {
	n, err := m.length(size)
	if err != nil {
		return err
	}
	b, _ := m.take(n)
	if n > 8 {
		return m.push(inert{"large integer"}) // the state of a random source
	}
	var x uint64
	for i, c := range b {
		x |= uint64(c) << (8 * i)
	}
	if n > 0 && n < 8 && b[n-1]&0x80 != 0 {
		x |= ^uint64(0) << (8 * n)
	}
	return m.push(int64(x))
}

func (m *machine) text(size int) error {
	n, err := m.length(size)
	if err != nil {
		return err
	}
	b, _ := m.take(n)
	if !utf8.Valid(b) {
		return errors.New("a string is not UTF-8; the file is damaged")
	}
	return m.push(string(b))
}

func (m *machine) bytes(size int) error {
	n, err := m.length(size)
	if err != nil {
		return err
	}
	b, _ := m.take(n)
	return m.push(b)
}

func (m *machine) line() (string, error) {
	for i := m.at; i < len(m.data) && i-m.at <= maxName; i++ {
		if m.data[i] == '\n' {
			s := string(m.data[m.at:i])
			m.at = i + 1
			if !utf8.ValidString(s) {
				return "", errors.New("a name is not UTF-8; the file is damaged")
			}
			return s, nil
		}
	}
	return "", fmt.Errorf("a name of at most %d bytes and a newline wanted; the file is damaged", maxName)
}

func (m *machine) tuple(n int) error {
	items := make(tuple, n)
	for i := n - 1; i >= 0; i-- {
		v, err := m.pop()
		if err != nil {
			return err
		}
		items[i] = v
	}
	return m.push(items)
}

func (m *machine) appends() error {
	items, err := m.popMark()
	if err != nil {
		return err
	}
	return m.extend(items)
}

// extend appends to the list on the stack.
func (m *machine) extend(items []any) error {
	v, err := m.pop()
	if err != nil {
		return err
	}
	l, ok := v.(*list)
	if !ok {
		return fmt.Errorf("items for %s, want a list", describe(v))
	}
	l.items = append(l.items, items...)
	return m.push(l)
}

// setItems sets keys and values, by turns, of the dictionary on the stack.
func (m *machine) setItems(items []any) error {
	v, err := m.pop()
	if err != nil {
		return err
	}
	d, ok := v.(*dict)
	if !ok || len(items)%2 != 0 {
		return fmt.Errorf("%d keys and values for %s, want pairs for a dictionary", len(items), describe(v))
	}
	for i := 0; i < len(items); i += 2 {
		if err := d.set(items[i], items[i+1]); err != nil {
			return err
		}
	}
	return m.push(d)
}

func (m *machine) index(size int) (uint32, error) {
	b, err := m.take(size)
	if err != nil {
		return 0, err
	}
	var wide [4]byte
	copy(wide[:], b)
	return binary.LittleEndian.Uint32(wide[:]), nil
}

func (m *machine) put(size int) error {
	i, err := m.index(size)
	if err != nil {
		return err
	}
	return m.remember(i)
}

func (m *machine) remember(i uint32) error {
	v, err := m.pop()
	if err != nil {
		return err
	}
	m.memo[i] = v
	return m.push(v)
}

func (m *machine) get(size int) error {
	i, err := m.index(size)
	if err != nil {
		return err
	}
	v, ok := m.memo[i]
	if !ok {
		return fmt.Errorf("value %d was never kept; the file is damaged", i)
	}
	return m.push(v)
}
