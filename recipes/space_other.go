//go:build !linux && !darwin

package recipes

// freeBytes is not known here.
func freeBytes(string) (int, bool) { return 0, false }
