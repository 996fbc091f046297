package repl

import (
	"context"
	"errors"
	"strings"
	"testing"
)

const exits = "(To exit, press Ctrl-C again or Ctrl-D, or 'Enter' on an empty prompt.)\n"

// Whole sessions in raw mode: what is typed when, and what then stands on the screen.
func TestTerminalSessions(t *testing.T) {
	for _, c := range []struct {
		name    string
		options Options
		steps   []step
		screen  string
		err     error
	}{
		{"empty prompt leaves", Options{}, []step{{asks, "\r"}}, greeting + bye, nil},
		{"blanks leave", Options{}, []step{{asks, "  \r"}}, greeting + bye, nil},
		{"ctrl-d leaves", Options{}, []step{{asks, "\x04"}}, greeting + bye, nil},
		{"!quit leaves", Options{}, []step{{asks, "!QUIT\r"}}, greeting + asks + "!QUIT", nil},
		{"/quit leaves", Options{}, []step{{asks, "/quit\r"}}, greeting + asks + "/quit", nil},
		{"conversation is remembered", Options{System: "S"}, []step{{asks, "hi\r"}, {asks, "ho\r"}, {asks, "!exit\r"}},
			greeting + asks + "hi\n>> Reply: [system:S user:hi]" + answered(2) +
				asks + "ho\n>> Reply: [system:S user:hi assistant:[system:S user:hi] user:ho]" + answered(5) + asks + "!exit", nil},
		{"enter as line feed and as both", Options{}, []step{{asks, "a\n"}, {asks, "b\r\n"}, {asks, "\r"}},
			greeting + asks + "a\n>> Reply: [user:a]" + answered(1) + asks + "b\n>> Reply: [user:a assistant:[user:a] user:b]" + answered(3) + bye, nil},
		{"text of several lines, cut off", Options{}, []step{{asks, "poem\r"}, {asks, "\r"}},
			greeting + asks + "poem\n>> Reply: roses\nare réd 🌹\n\nTime for inference: 1.25 sec total, 2.40 tokens/sec, 3 tokens, 5 prompt tokens,…", nil},

		{"ctrl-c clears the line", Options{}, []step{{asks, "never\x1b[D\x1b[D sent\x03"}, {asks, "hi\r"}, {asks, "\x04"}},
			greeting + asks + "nev senter^C\n" + exits + asks + "hi\n>> Reply: [user:hi]" + answered(1) + bye, nil},
		{"ctrl-c twice leaves", Options{}, []step{{asks, "x\x03"}, {asks, "\x03"}}, greeting + asks + "x^C\n" + exits + bye, nil},
		{"ctrl-c on typed lines does not", Options{}, []step{{asks, "x\x03"}, {asks, "y\x03"}, {asks, "\r"}},
			greeting + asks + "x^C\n" + exits + asks + "y^C\n" + exits + bye, nil},
		{"ctrl-d in a line deletes", Options{}, []step{{asks, "hxi\x02\x02\x04\r"}, {asks, "\x04"}},
			greeting + asks + "hi\n>> Reply: [user:hi]" + answered(1) + bye, nil},

		{"ctrl-c stops the answer", Options{}, []step{{asks, "slow\r"}, {"begun", "\x03"}, {asks, "hi\r"}, {asks, "\r"}},
			greeting + asks + "slow\n>> Reply: begun" + stopped(1) + asks + "hi\n>> Reply: [user:slow assistant:begun  user:hi]" + answered(4) + bye, nil},
		{"ctrl-c right behind the prompt", Options{}, []step{{asks, "slow\r\x03"}, {asks, "\r"}},
			greeting + asks + "slow\n>> Reply: begun" + stopped(1) + bye, nil},
		{"a model that gives the context's error", Options{}, []step{{asks, "slow as an error\r"}, {"begun", "\x03"}, {asks, "\r"}},
			greeting + asks + "slow as an error\n>> Reply: begun" + stopped(1) + bye, nil},
		{"stopped before the first word", Options{}, []step{{asks, "silent\r"}, {"Reply: ", "\x03"}, {asks, "hi\r"}, {asks, "\r"}},
			greeting + asks + "silent\n>> Reply:" + stopped(0) + asks + "hi\n>> Reply: [user:hi]" + answered(1) + bye, nil},
		{"third ctrl-c leaves a stuck model", Options{}, []step{{asks, "stuck\r"}, {"begun", "\x03\x03"}, {"leaves without waiting", "\x03"}},
			greeting + asks + "stuck\n>> Reply: begun\n(The model has not stopped yet. Ctrl-C again leaves without waiting.)", context.Canceled},
		{"typed ahead", Options{}, []step{{asks, "slow\r"}, {"begun", "lost\x03\r\r\nnext\r"}, {asks, ""}, {asks, "\r"}},
			greeting + asks + "slow\n>> Reply: begun" + stopped(1) + asks + "next\n>> Reply: [user:slow assistant:begun  user:next]" + answered(4) + bye, nil},
		{"cancelled at the prompt", Options{}, []step{{asks, "CANCEL"}}, greeting + bye, context.Canceled},
		{"cancelled in an answer", Options{}, []step{{asks, "slow\r"}, {"begun", "CANCEL"}}, greeting + asks + "slow\n>> Reply: begun", context.Canceled},

		{"error in the answer", Options{}, []step{{asks, "a\r"}, {asks, "fail\r"}, {asks, "/clear\r"}, {asks, "b\r"}, {asks, "\r"}},
			greeting + asks + "a\n>> Reply: [user:a]" + answered(1) +
				asks + "fail\n>> Reply: half an an\nlitgpt: error: the conversation has 9 tokens, the context 8\nlitgpt: hint: /reset forgets the conversation, /retry asks again\n\n" +
				asks + "/clear\nThe conversation is forgotten.\n\n" + asks + "b\n>> Reply: [user:b]" + answered(1) + bye, nil},
		{"characters in pieces from a model", Options{}, []step{{asks, "half\r"}, {asks, "\r"}},
			greeting + asks + "half\n>> Reply: é🦙 \ufffd\ufffdx\ufffd" + answered(3) + bye, nil},
		{"escape sequences of a model", Options{ModelName: "Fake\x1b[2J-1B"}, []step{{asks, "evil\r"}, {asks, "\r"}},
			strings.Replace(greeting, "Fake", "Fake␛[2J", 1) + asks + "evil\n>> Reply: ␛]0;title␇ok\ufffd2J\n end␡" + answered(1) + bye, nil},

		{"backslash", Options{}, []step{{asks, "one\\\r"}, {"... ", "two\r"}, {asks, "\\\\\r"}, {asks, "\r"}},
			greeting + asks + "one\\\n... two\n>> Reply: [user:one\ntwo]" + answered(1) + asks + "\\\\\n>> Reply: [user:one\ntwo assistant:[user:one\ntwo] user:\\\\]" + answered(3) + bye, nil},
		{"empty continued prompt", Options{}, []step{{asks, "\\\r"}, {"... ", "\r"}, {asks, "\r"}}, greeting + asks + "\\\n...\n" + bye, nil},
		{"ctrl-d ends a continued prompt", Options{}, []step{{asks, "one\\\r"}, {"... ", "\x04"}, {asks, "\r"}},
			greeting + asks + "one\\\n...\n>> Reply: [user:one]" + answered(1) + bye, nil},
		{"alt-enter", Options{}, []step{{asks, "one\x1b\rtwo\r"}, {asks, "\r"}},
			greeting + asks + "one↵two\n>> Reply: [user:one\ntwo]" + answered(1) + bye, nil},

		{"paste", Options{}, []step{{asks, "\x1b[200~/help\r\tx\x01 \x1b[31m\r\ry\x1b[201~"}, {"y", " z\r"}, {asks, "\r"}},
			greeting + asks + "/help\n...  x [31m\n...\n... y z\n>> Reply: [user:/help\n x [31m\n\ny z]" + answered(3) + bye, nil},
		{"paste behind typed text", Options{}, []step{{asks, "see: \x1b[200~a\r"}, {"... ", "b\r\x1b[201~"}, {"... ", "\r"}, {asks, "\r"}},
			greeting + asks + "see: a\n... b\n...\n>> Reply: [user:see: a\nb]" + answered(2) + bye, nil},
		{"paste cut in pieces", Options{}, []step{{asks, "\x1b[20"}, {"", "0~a\r"}, {"... ", "b\x1b"}, {"b", "[201~\r"}, {asks, "\r"}},
			greeting + asks + "a\n... b\n>> Reply: [user:a\nb]" + answered(1) + bye, nil},
		{"ctrl-c in a paste that does not end", Options{}, []step{{asks, "\x1b[200~a\r"}, {"... ", "b\x03"}, {asks, "hi\r"}, {asks, "\r"}},
			greeting + asks + "a\n... b^C\n" + exits + asks + "hi\n>> Reply: [user:hi]" + answered(1) + bye, nil},

		{"editing", Options{}, []step{{asks, "wrld\x1b[D\x1bOD\x1b[Do\x01hello \x05!\x1b[1~\x1b[3~\x1b[4~\x7f?\x1bb\x17\x1b[1;5C\x1b[5~\x1b[99;99;99z.\r"}, {asks, "\r"}},
			greeting + asks + "world?.\n>> Reply: [user:world?.]" + answered(1) + bye, nil},
		{"editing wide characters", Options{}, []step{{asks, "你好吗\x7f\x1b[D\x1b[D们\x1b[C\x1b[3~🦙é\x02\x02x\x06\x05\x08\r"}, {asks, "\r"}},
			greeting + asks + "们你x🦙\n>> Reply: [user:们你x🦙]" + answered(1) + bye, nil},
		{"a long line", Options{}, []step{{asks, "a" + strings.Repeat("长", 60) + strings.Repeat("\x7f", 50) + "\r"}, {asks, "\r"}},
			greeting + asks + "a" + strings.Repeat("长", 10) + "\n>> Reply: [user:a" + strings.Repeat("长", 10) + "]" + answered(1) + bye, nil},
		{"characters in pieces and broken ones", Options{}, []step{{asks, "\xe4"}, {"", "\xbd"}, {"", "\xa0"}, {"你", "\xff\xc3(\U0010ff04\u0090\x1b"}, {"(", "!\r"}, {asks, "\r"}},
			greeting + asks + "你(!\n>> Reply: [user:你(!]" + answered(1) + bye, nil},

		{"commands", Options{}, []step{{asks, "/system\r"}, {asks, "/SYSTEM be  brief\r"}, {asks, "/system\r"}, {asks, "hi\r"}, {asks, "/retry\r"},
			{asks, "/system \"\"\r"}, {asks, "ho\r"}, {asks, "/hlep me\r"}, {asks, " /help\r"}, {asks, "/clear\r"}, {asks, "/etc/hosts\r"}, {asks, "/q\r"}, {asks, "\r"}},
			greeting + asks + "/system\nThere is no system prompt.\n\n" +
				asks + "/SYSTEM be  brief\nThe system prompt is set, from the next answer on.\n\n" +
				asks + "/system\nThe system prompt is: be  brief\n\n" +
				asks + "hi\n>> Reply: [system:be  brief user:hi]" + answered(4) +
				asks + "/retry\n>> Reply: [system:be  brief user:hi]" + answered(4) +
				asks + "/system \"\"\nThe system prompt is removed.\n\n" +
				asks + "ho\n>> Reply: [user:hi assistant:[system:be  brief user:hi] user:ho]" + answered(6) +
				asks + "/hlep me\nlitgpt: error: there is no command /hlep\nlitgpt: hint: /help lists the commands; a space before the slash sends it\n\n" +
				asks + " /help\n>> Reply: [user:hi assistant:[system:be  brief user:hi] user:ho assistant:[user:…", nil},
		{"retry", Options{}, []step{{asks, "/retry\r"}, {asks, "fail\r"}, {asks, "/retry\r"}, {asks, "\r"}},
			greeting + asks + "/retry\nlitgpt: error: there is no prompt to ask again\n\n" +
				asks + "fail\n>> Reply: half an an\nlitgpt: error: the conversation has 9 tokens, the context 8\nlitgpt: hint: /retry asks again\n\n" +
				asks + "/retry\n>> Reply: half an an\nlitgpt: error: the conversation has 9 tokens, the context 8\nlitgpt: hint: /retry asks again\n\n" + bye, nil},
		{"help", Options{}, []step{{asks, "/help\r"}, {asks, "\r"}}, greeting + asks + `/help
  /help            this list
  /system TEXT     set the system prompt; without TEXT show it, "" removes it
  /set NAME VALUE  change a setting; without VALUE show it, alone show all
  /retry           ask the last prompt again, in place of its answer
  /undo            take the last prompt and its answer back
  /forget N        drop the N oldest prompts and answers, to make room
  /reset           forget the conversation, keep the system prompt
  /save FILE       save the conversation and the settings
  /load FILE       go on with a conversation that was saved
  /stats           show how long the conversation is and how fast the model
  /multiline       switch prompts of several lines on or off
  /quit            leave; so do !quit, !exit and Ctrl-D
A line that ends with \ goes on in the next. Ctrl-C stops an answer.
Alt-Enter is a line break, pasted lines stay together, the arrow keys bring back…`, nil},

		{"history", Options{}, []step{{asks, "one\r"}, {asks, "/clear\r"}, {asks, "two\x1b\r\\\r"}, {"... ", "three\r"}, {asks, "/clear\r"}, {asks, "mine\x1b[A\x1b[A\x1b[B\x1b[A\x1b[A\x1b[A\x1b[A\x1b[B\x1b[B!\r"}, {asks, "\r"}},
			greeting + asks + "one\n>> Reply: [user:one]" + answered(1) + asks + "/clear\nThe conversation is forgotten.\n\n" +
				asks + "two↵\\\n... three\n>> Reply: [user:two\n\nthree]" + answered(1) + asks + "/clear\nThe conversation is forgotten.\n\n" +
				asks + "two↵↵three!\n>> Reply: [user:two\n\nthree!]" + answered(1) + bye, nil},

		{"multiline", Options{Multiline: true}, []step{{"input).", "one\rtwo\\\r\r!Submit\r"}, {"input).", "!quit\r"}},
			strings.Replace(greeting, "press 'Enter' on an empty prompt.", "enter '!quit' or '!exit' on an empty prompt and press 'Enter'.", 1) +
				asks + "(Type '!submit' on a new line to end input).\none\ntwo\\\n\n!Submit\n>> Reply: [user:one\ntwo\\]" + answered(1) +
				asks + "(Type '!submit' on a new line to end input).\n!quit", nil},
		{"multiline with a command, a paste and ctrl-d", Options{Multiline: true}, []step{{"input).", "\r!submit\r"}, {"input).", "/clear\r"}, {"input).", "\x1b[200~!submit\r!quit\r\x1b[201~/help\r"}, {"/help", "\x04"}, {"input).", "x\r\x03"}, {"input).", "\x04"}},
			strings.Replace(greeting, "press 'Enter' on an empty prompt.", "enter '!quit' or '!exit' on an empty prompt and press 'Enter'.", 1) +
				asks + "(Type '!submit' on a new line to end input).\n\n!submit\n" +
				asks + "(Type '!submit' on a new line to end input).\n/clear\nThe conversation is forgotten.\n\n" +
				asks + "(Type '!submit' on a new line to end input).\n!submit\n!quit\n/help\n\n>> Reply: [user:!submit\n!quit\n/help]" + answered(1) +
				asks + "(Type '!submit' on a new line to end input).\nx\n^C\n(To exit, press Ctrl-C again or Ctrl-D, or enter !quit.)\n" +
				asks + "(Type '!submit' on a new line to end input).", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := chat(t, fake(echo), c.options, c.steps)
			if !errors.Is(err, c.err) {
				t.Errorf("got error %v, want %v", err, c.err)
			}
			got := emulate(t, out)
			want, open := strings.CutSuffix(strings.TrimRight(c.screen, "\n "), "…") // … is the rest of the screen
			if got != want && !(open && strings.HasPrefix(got, want)) {
				t.Errorf("got the screen\n%s\n---- want\n%s", got, c.screen)
			}
			if i := strings.Index(strings.ReplaceAll(out, "\r\n", ""), "\n"); i >= 0 {
				t.Errorf("a line feed without carriage return in %q", out)
			}
		})
	}
}

// A panic of the model reaches the caller of Run, and the terminal is usable again.
func TestPanic(t *testing.T) {
	restored := false
	defer func() {
		if p := recover(); p == nil || !strings.Contains(p.(string), "index out of range") || !restored {
			t.Errorf("got panic %.60v, restored %v, want the model's and true", p, restored)
		}
	}()
	screen := newRecord()
	err := Run(context.Background(), fake(echo), Options{
		In: strings.NewReader("panic\r"), Out: screen, Err: screen, Terminal: true,
		RawMode: func() (func() error, error) { return func() error { restored = true; return nil }, nil },
	})
	t.Errorf("Run returned %v", err)
}

// Whatever is typed, the session ends with the input, and nothing but what we mean to write reaches the screen.
func FuzzKeys(f *testing.F) {
	for _, seed := range []string{
		"hi\r", "\x1b[200~a\rb\x1b[201~\r", "你\x7f\x1b[D\x04\x04", "\x1b[A\x1b[A\x01\x0b\x0c", "\xff\xfe\x1b", "\x1b[1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1",
		"\x1bO", "\x1b\x1b[A", "\x03\x03", "x\\\r\x03\x1b[200~\x03\x04", "/system \r/retry\r", strings.Repeat("长", 300) + "\x01\x1b[3~\r",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, keys []byte) {
		reply := fake(func(_ context.Context, turns []Turn, emit func(string) error) (Answer, error) {
			text := turns[len(turns)-1].Content
			if text != strings.ToValidUTF8(text, "") || strings.ContainsAny(text, "\r\x1b\x00") || strings.ContainsRune(text, markFiller) {
				t.Errorf("the model got %q", text)
			}
			return Answer{Tokens: 1}, emit("ok")
		})
		screen := newRecord()
		err := Run(context.Background(), reply, Options{
			In: strings.NewReader(string(keys)), Out: screen, Err: screen, Terminal: true,
			RawMode: func() (func() error, error) { return func() error { return nil }, nil },
		})
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}
