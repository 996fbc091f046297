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
	t.Setenv("NO_COLOR", "")
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	o := Standard(device, device, device)
	if !o.Terminal || o.RawMode == nil || !strings.HasSuffix(o.HistoryFile, "/litgpt/chat_history") {
		t.Fatalf("not taken for a terminal: %+v", o)
	}
	if !o.Style {
		t.Error("no styles on a terminal")
	}
	files := memory{}
	o.Files, o.Settings = files, &knobs{}
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
	at = shown.await(t, at, asks)
	// Markdown is styled on a real terminal, what the model says of escape sequences is not done, and a conversation is
	// changed, saved, forgotten and loaded again.
	write("say **bold**\r")
	at = shown.await(t, at, "say **"+styleOff+styleBold+"bold**"+styleOff)
	at = shown.await(t, at, asks)
	write("evil\r")
	at = shown.await(t, at, "␛]0;title␇ok\ufffd2J\r\n")
	at = shown.await(t, at, asks)
	write("/undo\r")
	at = shown.await(t, at, "The last question is taken back (3 answers left).\r\n")
	at = shown.await(t, at, asks)
	write("/set temperature 0.5\r")
	at = shown.await(t, at, "temperature is 0.5, from the next answer on.\r\n")
	at = shown.await(t, at, asks)
	write("/save chat.json\r")
	at = shown.await(t, at, "The conversation is saved in chat.json (3 answers).\r\n")
	at = shown.await(t, at, asks)
	write("/reset\r")
	at = shown.await(t, at, asks)
	write("/load chat.json\r")
	at = shown.await(t, at, "is loaded (3 answers).\r\n")
	at = shown.await(t, at, asks)
	write("/stats\r")
	at = shown.await(t, at, "conversation   3 answers\r\n")
	at = shown.await(t, at, asks)
	write("/multiline\rone\rtwo\r!submit\r")
	at = shown.await(t, at, "user:slow assistant:begun  user:abcdefghijklmnopqrst")
	at = shown.await(t, at, "user:one\r\ntwo]")
	shown.await(t, at, asks)
	write("\x04")
	if err := <-done; err != nil {
		t.Error(err)
	}
	after, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil || *after != *before {
		t.Errorf("the terminal's settings are %+v after the session, want %+v (%v)", after, before, err)
	}
	if !strings.Contains(files["chat.json"], `"content": "say **bold**"`) || strings.Contains(files["chat.json"], "evil") {
		t.Errorf("the saved chat is %s", files["chat.json"])
	}
	if _, err := os.Stat(o.HistoryFile); err != nil {
		t.Error(err)
	}
}
