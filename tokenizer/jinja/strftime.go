package jinja

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// strftime formats a time as Python does on Linux in the C locale. A flag may stand
// before a directive (- without padding, _ with spaces, 0 with zeros, ^ upper case, #
// the other case), and a width; directives that do not exist stay as they are.
func strftime(t time.Time, format string) string {
	var b strings.Builder
	for format != "" {
		i := strings.IndexByte(format, '%')
		if i < 0 || i+1 == len(format) {
			break
		}
		b.WriteString(format[:i])
		format = format[i:]
		n := 1
		flags := format[n : len(format)-len(strings.TrimLeft(format[n:], "-_0^#"))]
		n += len(flags)
		digits := format[n : len(format)-len(strings.TrimLeft(format[n:], "0123456789"))]
		n += len(digits)
		if n < len(format) && (format[n] == 'E' || format[n] == 'O') { // other eras and digits, of which C has none
			n++
		}
		if n == len(format) {
			break
		}
		d, ok := directives[format[n]]
		switch {
		case !ok, format[n] == 'f' && n > 1: // microseconds are Python's own, without flags
			b.WriteString(format[:n+1])
		case (format[n] == 'z' || format[n] == 'Z') && n > 1: // C is told of no zone
		default:
			width, _ := strconv.Atoi(digits)
			b.WriteString(d.text(t, flags, min(width, 64)))
		}
		format = format[n+1:]
	}
	return b.String() + format
}

// directive is what stands after %: a text, or a number padded to a width.
type directive struct {
	write  func(time.Time) string // nil: a number
	number func(time.Time) int
	width  int
	pad    string // usually "0"; " " of %e
}

func (d directive) text(t time.Time, flags string, width int) string {
	pad := d.pad
	text := ""
	if d.write != nil {
		text = d.write(t)
		if strings.Contains(flags, "^") {
			text = strings.ToUpper(text)
		}
		if strings.Contains(flags, "#") { // upper case, or lower of what is all in upper case
			if text == strings.ToUpper(text) {
				text = strings.ToLower(text)
			} else {
				text = strings.ToUpper(text)
			}
		}
	} else {
		text = strconv.Itoa(d.number(t))
		width = max(width, d.width)
	}
	for _, f := range flags {
		switch f {
		case '_':
			pad = " "
		case '0':
			pad = "0"
		case '-':
			return text
		}
	}
	if pad == "" {
		pad = " "
	}
	return strings.Repeat(pad, max(0, width-len(text))) + text
}

// directives of strftime.
var directives = func() map[byte]directive {
	table := map[byte]directive{
		'%': {write: func(time.Time) string { return "%" }},
		'n': {write: func(time.Time) string { return "\n" }},
		't': {write: func(time.Time) string { return "\t" }},
		'P': {write: func(t time.Time) string { return strings.ToLower(t.Format("PM")) }},
		'h': {write: func(t time.Time) string { return t.Format("Jan") }},
		'z': {write: func(t time.Time) string { return zone(t, "-0700") }},
		'Z': {write: func(t time.Time) string { return zone(t, "MST") }},
	}
	for c, layout := range map[byte]string{
		'a': "Mon", 'A': "Monday", 'b': "Jan", 'B': "January", 'p': "PM", 'c': "Mon Jan _2 15:04:05 2006",
		'D': "01/02/06", 'x': "01/02/06", 'F': "2006-01-02", 'T': "15:04:05", 'X': "15:04:05", 'R': "15:04", 'r': "03:04:05 PM",
	} {
		table[c] = directive{write: func(t time.Time) string { return t.Format(layout) }}
	}
	number := func(c byte, width int, pad string, f func(time.Time) int) {
		table[c] = directive{number: f, width: width, pad: pad}
	}
	number('Y', 0, "0", time.Time.Year)
	number('C', 2, "0", func(t time.Time) int { return t.Year() / 100 })
	number('y', 2, "0", func(t time.Time) int { return t.Year() % 100 })
	number('m', 2, "0", func(t time.Time) int { return int(t.Month()) })
	number('d', 2, "0", time.Time.Day)
	number('e', 2, " ", time.Time.Day)
	number('H', 2, "0", time.Time.Hour)
	number('k', 2, " ", time.Time.Hour)
	number('I', 2, "0", func(t time.Time) int { return (t.Hour()+11)%12 + 1 })
	number('l', 2, " ", func(t time.Time) int { return (t.Hour()+11)%12 + 1 })
	number('M', 2, "0", time.Time.Minute)
	number('S', 2, "0", time.Time.Second)
	number('f', 6, "0", func(t time.Time) int { return t.Nanosecond() / 1000 })
	number('j', 3, "0", time.Time.YearDay)
	number('w', 0, "0", func(t time.Time) int { return int(t.Weekday()) })
	number('u', 0, "0", func(t time.Time) int { return (int(t.Weekday())+6)%7 + 1 })
	number('s', 0, "0", func(t time.Time) int { return int(t.Unix()) })
	number('G', 0, "0", func(t time.Time) int { year, _ := t.ISOWeek(); return year })
	number('g', 2, "0", func(t time.Time) int { year, _ := t.ISOWeek(); return year % 100 })
	number('V', 2, "0", func(t time.Time) int { _, week := t.ISOWeek(); return week })
	number('U', 2, "0", func(t time.Time) int { return (t.YearDay() + 6 - int(t.Weekday())) / 7 })
	number('W', 2, "0", func(t time.Time) int { return (t.YearDay() + 6 - (int(t.Weekday())+6)%7) / 7 })
	return table
}()

// Naive returns the time that a clock on the wall shows at t, without a zone, as
// Python's datetime.now() does: %z and %Z of it are empty.
func Naive(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.FixedZone("", 0))
}

func zone(t time.Time, layout string) string {
	if t.Location().String() == "" {
		return ""
	}
	return t.Format(layout)
}

// isoLayouts are the forms of Python's isoformat that ParseTime reads.
var isoLayouts = []string{"2006-01-02", "2006-01-02T15", "2006-01-02T15:04", "2006-01-02T15:04:05", "20060102", "20060102T150405"}

// ParseTime reads a time as Python's datetime.fromisoformat does: a date, or a date
// and a time after a T or space, with an offset from UTC, Z, or without a zone.
func ParseTime(iso string) (time.Time, error) {
	text := iso
	if len(text) > 10 && text[10] == ' ' {
		text = text[:10] + "T" + text[11:]
	}
	for _, layout := range isoLayouts {
		if at, err := time.Parse(layout, text); err == nil {
			return Naive(at), nil
		}
		for _, offset := range []string{"Z07:00", "Z0700"} {
			if at, err := time.Parse(layout+offset, text); err == nil {
				name := "UTC"
				_, seconds := at.Zone()
				if seconds != 0 {
					name += at.Format("-07:00")
				}
				return at.In(time.FixedZone(name, seconds)), nil
			}
		}
	}
	return time.Time{}, fmt.Errorf("%q is no ISO time; one like 2024-07-26, 2024-07-26T10:30:00 or 2024-07-26T10:30:00+02:00 wanted", iso)
}
