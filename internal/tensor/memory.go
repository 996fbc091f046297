package tensor

import (
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// Memory is the device's memory in bytes: what can be had now, swap not counted,
// and all there is. Zeros mean that it is not known. Of several devices it is that
// of the one with the least free, since each must hold its part.
func (d *Device) Memory() (free, total int) {
	if d.group != nil {
		for i, m := range d.group.members {
			if f, t := m.Memory(); i == 0 || f < free {
				free, total = f, t
			}
		}
		return free, total
	}
	if d.Async() {
		return d.b.Memory()
	}
	return hostMemory()
}

// linuxMemory reads how much memory a process may still take, from /proc and
// /sys/fs/cgroup below root: what the kernel can free without swapping, or less
// when a control group (a container) leaves less.
func linuxMemory(root fs.FS) (free, total int) {
	info := numbers(root, "proc/meminfo")
	free, total = info["MemAvailable:"]<<10, info["MemTotal:"]<<10
	if total == 0 {
		return 0, 0
	}
	all := total
	for _, g := range groups(root) {
		limit, ok := number(root, g.dir+"/"+g.limit)
		if !ok || limit >= all { // "max", or v1's largest number, is no limit
			continue
		}
		used, _ := number(root, g.dir+"/"+g.used)
		stat := numbers(root, g.dir+"/memory.stat")
		used -= stat[g.inactive] + stat[g.active] // cached files are given up
		free, total = min(free, limit-max(0, used)), min(total, limit)
	}
	return max(0, free), total
}

// controlGroup is one with its files: version 2, or 1 of older systems.
type controlGroup struct{ dir, limit, used, inactive, active string }

// groups lists the control groups of this process, from the innermost out. Within
// a container its own is usually mounted at the top, whatever its path says.
func groups(root fs.FS) (out []controlGroup) {
	text, _ := fs.ReadFile(root, "proc/self/cgroup")
	for _, line := range strings.Split(string(text), "\n") {
		f := strings.SplitN(line, ":", 3) // id, controllers, path
		if len(f) < 3 {
			continue
		}
		g := controlGroup{dir: "sys/fs/cgroup", limit: "memory.max", used: "memory.current", inactive: "inactive_file", active: "active_file"}
		switch f[1] {
		case "":
		case "memory":
			g = controlGroup{"sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", "total_active_file"}
		default:
			continue
		}
		top := g.dir
		for p := path.Clean("/" + f[2]); ; p = path.Dir(p) {
			g.dir = strings.TrimSuffix(top+p, "/")
			out = append(out, g)
			if p == "/" {
				break
			}
		}
	}
	return out
}

// number reads a file of one number.
func number(root fs.FS, name string) (int, bool) {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return 0, false
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	return n, err == nil
}

// numbers reads lines of a name and a number.
func numbers(root fs.FS, name string) map[string]int {
	out := map[string]int{}
	text, _ := fs.ReadFile(root, name) // a missing file has none
	for _, line := range strings.Split(string(text), "\n") {
		if f := strings.Fields(line); len(f) >= 2 {
			if n, err := strconv.Atoi(f[1]); err == nil {
				out[f[0]] = n
			}
		}
	}
	return out
}
