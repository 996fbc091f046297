// Package mmap maps files into memory, read-only, and reads such memory without
// risking the process: when another process truncates a mapped file, or its disk goes
// away, the kernel answers a read with SIGBUS.
package mmap

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"unsafe"
)

// Guard runs read, which reads data in this goroutine, and turns a fault of that
// memory into an error. Every other panic goes on. C code is not guarded.
func Guard(data []byte, read func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		fault, ok := r.(interface {
			runtime.Error
			Addr() uintptr
		})
		first := uintptr(unsafe.Pointer(unsafe.SliceData(data)))
		page := uintptr(os.Getpagesize()) // some processors report the page only
		if !ok || fault.Addr() < first&^(page-1) || fault.Addr() >= first+uintptr(len(data)) {
			panic(r)
		}
		err = fmt.Errorf("its %d bytes cannot be read: the file was truncated or closed, or its disk is gone; "+
			"restore the file and load it again", len(data))
	}()
	return read()
}
