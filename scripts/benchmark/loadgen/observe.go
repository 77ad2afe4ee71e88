package main

import (
	"bufio"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// usage is what a process and all below it have used; memory in MiB.
type usage struct {
	CPU       float64 `json:"cpu_seconds"`  // user and system, of the dead among them too
	Resident  float64 `json:"resident_mib"` // pages shared between them count for each
	Own       float64 `json:"own_mib"`      // a page shared by n counts as 1/n ("proportional set size")
	Processes int     `json:"processes"`
}

func (now usage) since(before usage) usage {
	now.CPU -= before.CPU
	return now
}

const ticks = 100 // of the clock in /proc, a second; the same on every Linux (USER_HZ)

// observe adds up a process and its descendants, as /proc shows them.
func observe(pid int, memory bool) usage {
	var total usage
	for member := range family(pid) {
		fields := stat(member)
		if fields == nil {
			continue
		}
		for _, field := range fields[11:15] { // utime, stime, cutime, cstime
			spent, _ := strconv.ParseFloat(field, 64)
			total.CPU += spent / ticks
		}
		total.Processes++
		if memory {
			resident, own := sizes(member)
			total.Resident += resident
			total.Own += own
		}
	}
	return total
}

// stat returns the fields of /proc/PID/stat behind the name, which may hold anything: the state comes first.
func stat(pid int) []string {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return nil // it has ended
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 15 {
		return nil
	}
	return fields
}

// family returns the numbers of a process and of all that descend from it.
func family(pid int) map[int]bool {
	parents := map[int]int{}
	found, _ := filepath.Glob("/proc/[0-9]*")
	for _, path := range found {
		number, err := strconv.Atoi(filepath.Base(path))
		if fields := stat(number); err == nil && fields != nil {
			parents[number], _ = strconv.Atoi(fields[1])
		}
	}
	members := map[int]bool{pid: true}
	for grown := true; grown; {
		grown = false
		for child, parent := range parents {
			if members[parent] && !members[child] {
				members[child], grown = true, true
			}
		}
	}
	return members
}

// sizes returns resident and proportional set size of one process, in MiB.
func sizes(pid int) (resident, own float64) {
	file, err := os.Open("/proc/" + strconv.Itoa(pid) + "/smaps_rollup")
	if err != nil {
		return 0, 0
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			continue
		}
		size, _ := strconv.ParseFloat(fields[1], 64)
		switch fields[0] {
		case "Rss:":
			resident = size / 1024
		case "Pss:":
			own = size / 1024
		}
	}
	return resident, own
}
