package kvcache

import (
	"hash/maphash"
	"slices"
)

// Page is how many positions a page holds: few, so that little memory is left over at the end of
// a sequence; enough that a kernel has something to do for each page it looks up.
const Page = 32

// scan bounds how many pages are looked at for one that begins as wanted; one that is wanted whole is found by its hash.
const scan = 256

// Pages keeps account of a pool's pages: which sequences use each, and what is in those
// that nobody uses any more, until they are needed again. It knows nothing of memory.
//
// Pages whose contents are known form a tree: a page hangs below the one that came before
// it in its sequence. Its node says so, a number that no other page has had. The roots
// have numbers too ([Pages.Root]).
type Pages struct {
	all      []page
	free     []int32 // that hold nothing, last first
	used     int     // that sequences use
	oldest   int32   // of those that nobody uses but the tree: a list by the time of their last use; 0 is none
	newest   int32
	idle     int // length of that list
	nodes    int64
	whole    map[wholeKey]int32 // pages of the tree that are full
	children map[int64][]int32  // pages of the tree by the node before them
	copy     func(from, to int32, rows int)
	seed     maphash.Seed
}

type page struct {
	refs       int     // sequences that use it
	node       int64   // 0: it is not in the tree
	parent     int64   // node before it
	at         int     // index among the parent's children
	tokens     []int32 // in the tree: those whose keys and values it has
	prev, next int32   // in the list of idle pages
}

type wholeKey struct {
	parent int64
	hash   uint64
}

// NewPages returns the account of n pages, the first of which is kept for padding and never
// given to a sequence. copy copies the first rows of a page to another; nil copies nothing.
func NewPages(n int, copy func(from, to int32, rows int)) *Pages {
	p := &Pages{whole: map[wholeKey]int32{}, children: map[int64][]int32{}, copy: copy, seed: maphash.MakeSeed()}
	p.grow(n)
	return p
}

func (p *Pages) grow(n int) {
	from := max(1, len(p.all))
	p.all = append(p.all, make([]page, n-len(p.all))...)
	more := make([]int32, 0, n-from+len(p.free))
	for i := n - 1; i >= from; i-- {
		more = append(more, int32(i))
	}
	p.free = append(more, p.free...)
}

// Len is the number of pages that sequences can have.
func (p *Pages) Len() int { return max(0, len(p.all)-1) }

// Used is how many of them sequences have now, shared ones counted once.
func (p *Pages) Used() int { return p.used }

// Available is how many could be had now.
func (p *Pages) Available() int { return len(p.free) + p.idle }

// Forget drops what is remembered below a root. Sequences that use it keep it.
func (p *Pages) Forget(root int64) { p.orphan(root) }

// take gives an empty page with one reference, or false.
func (p *Pages) take() (int32, bool) {
	var i int32
	switch n := len(p.free); {
	case n > 0:
		i, p.free = p.free[n-1], p.free[:n-1]
	case p.oldest != 0:
		i = p.oldest
		p.unlink(i)
		p.forget(i)
	default:
		return 0, false
	}
	p.all[i].refs = 1
	p.used++
	return i, true
}

// ref adds a sequence to a page's users.
func (p *Pages) ref(i int32) {
	if q := &p.all[i]; q.refs == 0 {
		p.unlink(i)
		p.used++
	}
	p.all[i].refs++
}

// unref takes one away. The page is kept as long as nothing else is wanted more if its contents are known.
func (p *Pages) unref(i int32) {
	q := &p.all[i]
	if q.refs--; q.refs > 0 {
		return
	}
	p.used--
	if q.node == 0 {
		p.free = append(p.free, i)
		return
	}
	q.prev, q.next = p.newest, 0
	if p.newest != 0 {
		p.all[p.newest].next = i
	} else {
		p.oldest = i
	}
	p.newest = i
	p.idle++
}

// unlink takes a page out of the list of idle ones.
func (p *Pages) unlink(i int32) {
	q := &p.all[i]
	if q.prev != 0 {
		p.all[q.prev].next = q.next
	} else {
		p.oldest = q.next
	}
	if q.next != 0 {
		p.all[q.next].prev = q.prev
	} else {
		p.newest = q.prev
	}
	q.prev, q.next = 0, 0
	p.idle--
}

// add puts a page into the tree: tokens are those after the node parent that it holds.
func (p *Pages) add(i int32, parent int64, tokens []int32) int64 {
	q := &p.all[i]
	p.nodes++
	q.node, q.parent, q.tokens = p.nodes, parent, slices.Clone(tokens)
	q.at = len(p.children[parent])
	p.children[parent] = append(p.children[parent], i)
	if len(tokens) == Page {
		p.whole[p.key(parent, tokens)] = i
	}
	return q.node
}

// forget takes a page out of the tree, and what comes after it, which cannot be found any more.
func (p *Pages) forget(i int32) {
	q := &p.all[i]
	if q.node == 0 {
		return
	}
	node := q.node
	if len(q.tokens) == Page {
		if key := p.key(q.parent, q.tokens); p.whole[key] == i {
			delete(p.whole, key)
		}
	}
	list := p.children[q.parent]
	last := list[len(list)-1]
	list[q.at], p.all[last].at = last, q.at
	if list = list[:len(list)-1]; len(list) == 0 {
		delete(p.children, q.parent)
	} else {
		p.children[q.parent] = list
	}
	q.node, q.parent, q.at, q.tokens = 0, 0, 0, nil
	p.orphan(node)
}

// orphan takes all that comes after a node out of the tree.
func (p *Pages) orphan(node int64) {
	for len(p.children[node]) > 0 {
		i := p.children[node][0]
		p.forget(i)
		if p.all[i].refs == 0 {
			p.unlink(i)
			p.free = append(p.free, i)
		}
	}
}

func (p *Pages) key(parent int64, tokens []int32) wholeKey {
	var h maphash.Hash
	h.SetSeed(p.seed)
	for _, t := range tokens {
		h.Write([]byte{byte(t), byte(t >> 8), byte(t >> 16), byte(t >> 24)})
	}
	return wholeKey{parent, h.Sum64()}
}

// find gives the page after parent that holds exactly these tokens, a whole page; 0 is none.
func (p *Pages) find(parent int64, tokens []int32) int32 {
	if i, ok := p.whole[p.key(parent, tokens)]; ok && slices.Equal(p.all[i].tokens, tokens) && p.all[i].parent == parent {
		return i
	}
	return 0
}

// nearest gives the page after parent that shares most with tokens, and how much.
func (p *Pages) nearest(parent int64, tokens []int32) (best int32, n int) {
	list := p.children[parent]
	for _, i := range list[max(0, len(list)-scan):] {
		if same := common(p.all[i].tokens, tokens); same > n {
			best, n = i, same
		}
	}
	return best, n
}

func common(a, b []int32) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}
