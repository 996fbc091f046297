package tokenizer

import (
	"slices"
	"strings"
)

// byteTrie finds the keys that a text begins with. Nodes are numbered breadth
// first, so that the children of a node are neighbours: nine bytes a node, where
// a double array or a map of edges takes two to five times that.
type byteTrie struct {
	first []uint32 // the first child of a node; the last is before first[node+1]
	label []byte   // the byte that leads to a node
	value []int32  // of the key that ends at a node, -1 none
	root  [256]uint32
}

// newByteTrie makes a trie of keys; the last of equal ones counts, empty ones do
// not.
func newByteTrie(keys []string, values []int32) *byteTrie {
	order := make([]int32, 0, len(keys))
	for i, k := range keys {
		if k != "" {
			order = append(order, int32(i))
		}
	}
	slices.SortFunc(order, func(a, b int32) int {
		if c := strings.Compare(keys[a], keys[b]); c != 0 {
			return c
		}
		return int(a - b)
	})
	t := &byteTrie{}
	// A node is a range of the sorted keys that share their first depth bytes.
	type node struct{ lo, hi, depth int32 }
	level := []node{{0, int32(len(order)), 0}}
	t.label, t.value = append(t.label, 0), append(t.value, -1)
	for at := 0; len(level) > 0; {
		var next []node // only two levels are in memory
		for _, q := range level {
			t.first = append(t.first, uint32(len(t.label)))
			for q.lo < q.hi && int(q.depth) == len(keys[order[q.lo]]) {
				t.value[at] = values[order[q.lo]]
				q.lo++
			}
			for q.lo < q.hi {
				c := keys[order[q.lo]][q.depth]
				hi := q.lo + 1
				for hi < q.hi && keys[order[hi]][q.depth] == c {
					hi++
				}
				t.label, t.value = append(t.label, c), append(t.value, -1)
				next = append(next, node{q.lo, hi, q.depth + 1})
				q.lo = hi
			}
			at++
		}
		level = next
	}
	t.first = append(t.first, uint32(len(t.label)))
	for i := t.first[0]; i < t.first[1]; i++ {
		t.root[t.label[i]] = i
	}
	return t
}

// child returns the node that c leads to, 0 for none: no edge leads to the root.
func (t *byteTrie) child(node uint32, c byte) uint32 {
	if node == 0 {
		return t.root[c]
	}
	lo, hi := t.first[node], t.first[node+1]
	for hi-lo > 8 {
		mid := (lo + hi) / 2
		if t.label[mid] <= c {
			lo = mid
		} else {
			hi = mid
		}
	}
	for ; lo < hi; lo++ {
		if t.label[lo] == c {
			return lo
		}
	}
	return 0
}

// longest returns the length and the value of the longest key that s begins with,
// 0 when there is none.
func (t *byteTrie) longest(s string) (n int, value int32) {
	for node, i := uint32(0), 0; i < len(s); {
		if node = t.child(node, s[i]); node == 0 {
			break
		}
		i++
		if v := t.value[node]; v >= 0 {
			n, value = i, v
		}
	}
	return n, value
}
