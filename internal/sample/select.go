package sample

import (
	"math/bits"
	"slices"
)

// prefix reorders c so that c[:n] are its first candidates in order of probability, n being the least number whose weights
// reach budget (at least 1 for a c that is not empty, at most len(c)), and returns n. It is a quickselect by weight: linear
// in len(c) on average, and a sort of what is left where bad pivots would make it quadratic.
func prefix(c []candidate, budget float64) int {
	lo, hi := 0, len(c) // c[:lo] is in, c[hi:] is out
	for tries := 2 * bits.Len(uint(len(c))); hi-lo > 16 && tries > 0; tries-- {
		mid := partition(c[lo:hi]) + lo
		upper := 0.0
		for _, k := range c[lo:mid] {
			upper += k.weight
		}
		if upper >= budget {
			hi = mid
		} else {
			budget -= upper
			lo = mid
		}
	}
	slices.SortFunc(c[lo:hi], order)
	for i := lo; i < hi; i++ {
		if budget -= c[i].weight; budget <= 0 {
			return i + 1
		}
	}
	return hi
}

// partition splits c (at least 3) into two parts that are not empty, every candidate of c[:n] before every one of c[n:], and
// returns n. The pivot is the median of first, middle and last, which is the best one for logits that are already sorted.
func partition(c []candidate) int {
	mid, last := len(c)/2, len(c)-1
	if c[mid].before(c[0]) {
		c[mid], c[0] = c[0], c[mid]
	}
	if c[last].before(c[0]) {
		c[last], c[0] = c[0], c[last]
	}
	if c[last].before(c[mid]) {
		c[last], c[mid] = c[mid], c[last]
	}
	pivot := c[mid]
	i, j := 0, last
	for { // Hoare's scheme; the ends are sentinels
		for c[i].before(pivot) {
			i++
		}
		for pivot.before(c[j]) {
			j--
		}
		if i >= j {
			return max(i, 1)
		}
		c[i], c[j] = c[j], c[i]
		i++
		j--
	}
}
