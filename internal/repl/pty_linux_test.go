package repl

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// openPTY opens a pseudo-terminal; screen is the user's side, device the program's.
func openPTY(t *testing.T) (screen, device *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { screen.Close() })
	var number int
	conn, err := screen.SyscallConn()
	if err == nil {
		err = conn.Control(func(fd uintptr) {
			if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
				number, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
			}
		})
	}
	if err != nil {
		t.Skipf("pseudo-terminal cannot be unlocked: %v", err)
	}
	device, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no device for the pseudo-terminal: %v", err)
	}
	t.Cleanup(func() { device.Close() })
	return screen, device
}

// One session on a real terminal: raw mode on and off, Ctrl-C as a byte, a resized window.
func TestPTY(t *testing.T) {
	screen, device := openPTY(t)
	fd := int(device.Fd())
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	size := func(columns uint16) {
		if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}); err != nil {
			t.Fatal(err)
		}
	}
	size(30)
	t.Setenv("TERM", "xterm")
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	o := Standard(device, device, device)
	if !o.Terminal || o.RawMode == nil || !strings.HasSuffix(o.HistoryFile, "/litgpt/chat_history") {
		t.Fatalf("not taken for a terminal: %+v", o)
	}
	shown := newRecord()
	go func() {
		buf := make([]byte, 1024)
		for {
			n, err := screen.Read(buf)
			shown.Write(buf[:n])
			if err != nil {
				return
			}
		}
	}()
	done := make(chan error, 1)
	go func() { done <- Run(context.Background(), fake(echo), o) }()
	write := func(keys string) {
		if _, err := screen.WriteString(keys); err != nil {
			t.Error(err)
		}
	}

	at := shown.await(t, 0, asks)
	if during, err := unix.IoctlGetTermios(fd, unix.TCGETS); err != nil || during.Lflag&(unix.ICANON|unix.ISIG|unix.ECHO) != 0 {
		t.Errorf("the terminal is not in raw mode: %+v, %v", during, err)
	}
	write("slow\r")
	at = shown.await(t, at, "begun ")
	write("\x03")
	at = shown.await(t, at, ", stopped\r\n")
	at = shown.await(t, at, asks)
	// 11 columns of prompt and 20 characters fill 30 columns: the editor breaks the line behind the 19th.
	write("abcdefghijklmnopqrst")
	at = shown.await(t, at, "s\r\nt")
	write("\x15")
	size(60)
	// A resize of a line that was begun repaints it.
	at = shown.await(t, at, "\x1b")
	if err := syscall.Kill(os.Getpid(), syscall.SIGWINCH); err != nil {
		t.Fatal(err)
	}
	at = shown.await(t, at, asks)
	write("abcdefghijklmnopqrst\r")
	at = shown.await(t, at, "abcdefghijklmnopqrst\r\n")
	at = shown.await(t, at, "abcdefghijklmnopqrst]")
	shown.await(t, at, asks)
	write("\x04")
	if err := <-done; err != nil {
		t.Error(err)
	}
	after, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil || *after != *before {
		t.Errorf("the terminal's settings are %+v after the session, want %+v (%v)", after, before, err)
	}
	if _, err := os.Stat(o.HistoryFile); err != nil {
		t.Error(err)
	}
}
