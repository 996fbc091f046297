package nn

// Rows are a part of the rows of a weight that holds several projections: those
// from From up to To in each period of Every rows, in all rows when Every is 0. The
// zero value means all rows.
type Rows struct{ From, To, Every int }

// Has reports whether row i is one of them.
func (r Rows) Has(i int) bool {
	if r == (Rows{}) {
		return true
	}
	if r.Every > 0 {
		i %= r.Every
	}
	return r.From <= i && i < r.To
}
