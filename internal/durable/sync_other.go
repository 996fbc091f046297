//go:build !unix

package durable

// syncDir does nothing: Windows has no such call, its file systems keep a journal.
func syncDir(string) error { return nil }
