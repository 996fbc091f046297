package nn

// Window is how many positions back any of the model's layers sees, itself included, after
// its Forward: the keys and values before that can be forgotten. 0 means all.
func (b *Batch) Window() (most int) {
	for window := range b.spans {
		if window == 0 {
			return 0
		}
		most = max(most, window)
	}
	return most
}
