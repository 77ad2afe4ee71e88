// Command loadgen drives a CA that speaks step-ca's API and tells what it took: time, the processor time of the
// processes it is told to watch, and their memory.
//
// Invariants: keys, requests and tokens are made before the clock starts, and every answer is judged after it has
// stopped, so the client's own work stays small beside the server's; an answer counts only if its certificate leads
// to the root, is for the name and the key that were asked for, and is not the same as another one; the outcome is one
// line of JSON on stdout, and the exit status is 1 when any answer was wrong,
// one of the first, which are not measured, included.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"sort"
	"syscall"
	"time"
)

type report struct {
	Work        string           `json:"work"`
	Connections int              `json:"connections"`
	Requests    int              `json:"requests"`
	Failed      int              `json:"failed"`
	Complaints  []string         `json:"complaints"`
	Reconnects  int64            `json:"reconnects"`
	Seconds     float64          `json:"seconds"`
	Latency     latency          `json:"latency_ms"`
	ClientCPU   float64          `json:"client_cpu_seconds"`
	Watched     map[string]usage `json:"watched"`
}

type latency struct {
	P50  float64 `json:"p50"`
	P95  float64 `json:"p95"`
	P99  float64 `json:"p99"`
	Most float64 `json:"most"`
}

type watched map[string]int

func (w watched) String() string { return fmt.Sprint(map[string]int(w)) }

func (w watched) Set(text string) error {
	var name string
	var pid int
	for i := range text {
		if text[i] == '=' {
			name = text[:i]
			if _, err := fmt.Sscanf(text[i+1:], "%d", &pid); err != nil {
				return err
			}
		}
	}
	if name == "" || pid < 2 {
		return errors.New("want NAME=PID")
	}
	w[name] = pid
	return nil
}

func main() {
	groups := watched{}
	url := flag.String("url", "", "of the CA, such as https://localhost:9000")
	root := flag.String("root", "", "file with the root certificate")
	key := flag.String("provisioner-key", "", "file with the provisioner's P-256 key, PKCS#8 PEM")
	kid := flag.String("kid", "", "the key's identifier")
	provisioner := flag.String("provisioner", "admin", "its name")
	work := flag.String("work", "sign", "sign, sign-new, renew, health or health-new; with -new, and to renew, each request has a connection of its own")
	connections := flag.Int("connections", 8, "at the same time")
	requests := flag.Int("requests", 1000, "that are measured")
	warmup := flag.Int("warmup", 64, "requests before that")
	flag.Var(groups, "watch", "NAME=PID: a process whose use, with that of all below it, is reported; repeatable")
	flag.Parse()
	if flag.NArg() > 0 || *connections < 1 || *requests < *connections {
		fail(errors.New("wrong usage: see --help"))
	}

	ca, err := newCA(*url, *root, *key, *kid, *provisioner)
	if err != nil {
		fail(err)
	}
	first, err := prepare(ca, *work, *warmup, *connections)
	if err != nil {
		fail(fmt.Errorf("before the measurement: %w", err))
	}
	drive(ca, first, *connections, nil)
	cold, _ := judge(ca, first)
	job, err := prepare(ca, *work, *requests, *connections)
	if err != nil {
		fail(err)
	}

	before, own := map[string]usage{}, ownCPU()
	for name, pid := range groups {
		before[name] = observe(pid, false)
	}
	after := map[string]usage{}
	elapsed := drive(ca, job, *connections, func() {
		// The connections are still open: this is the memory that the load takes.
		for name, pid := range groups {
			after[name] = observe(pid, true).since(before[name])
		}
	})
	own = ownCPU() - own

	complaints, _ := judge(ca, job)
	wrong := append(cold, complaints...)
	out := report{
		Work: *work, Connections: *connections, Requests: *requests, Failed: len(wrong), Complaints: few(wrong),
		Reconnects: job.reconnects, Seconds: elapsed.Seconds(), Latency: quantiles(job.asks), ClientCPU: own, Watched: after,
	}
	if encoding := json.NewEncoder(os.Stdout).Encode(out); encoding != nil {
		fail(encoding)
	}
	if len(wrong) > 0 {
		os.Exit(1)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "loadgen:", err)
	os.Exit(2)
}

func few(all []string) []string {
	return append([]string{}, all[:min(len(all), 5)]...)
}

func quantiles(asks []*ask) latency {
	took := make([]float64, 0, len(asks))
	for _, each := range asks {
		took = append(took, float64(each.took)/float64(time.Millisecond))
	}
	sort.Float64s(took)
	at := func(share float64) float64 { return took[int(share*float64(len(took)-1)+0.5)] }
	return latency{P50: at(0.50), P95: at(0.95), P99: at(0.99), Most: at(1)}
}

func ownCPU() float64 {
	var used syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &used) != nil {
		return 0
	}
	return float64(used.Utime.Nano()+used.Stime.Nano()) / 1e9
}
