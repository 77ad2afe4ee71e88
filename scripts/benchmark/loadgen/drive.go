package main

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const patience = 60 * time.Second

// line is a connection to the server.
type line struct {
	*tls.Conn
	reader *bufio.Reader
	used   bool
}

func dial(server *ca, certificate *tls.Certificate) (*line, error) {
	settings := &tls.Config{
		RootCAs: server.roots, ServerName: server.base.Hostname(), MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"},
	}
	if certificate != nil {
		settings.Certificates = []tls.Certificate{*certificate}
	}
	dialer := &tls.Dialer{NetDialer: &net.Dialer{Timeout: patience, Deadline: time.Now().Add(patience)}, Config: settings}
	opened, err := dialer.Dial("tcp", server.base.Host)
	if err != nil {
		return nil, err
	}
	connection := opened.(*tls.Conn)
	return &line{Conn: connection, reader: bufio.NewReaderSize(connection, 8192)}, nil
}

// exchange sends a request and reads the whole answer; it tells whether the connection can take another.
func (open *line) exchange(each *ask) (again bool, err error) {
	if err := open.SetDeadline(time.Now().Add(patience)); err != nil {
		return false, err
	}
	if _, err := open.Write(each.wire); err != nil {
		return false, err
	}
	response, err := http.ReadResponse(open.reader, nil)
	if err != nil {
		return false, err
	}
	defer response.Body.Close()
	each.status = response.StatusCode
	each.body, err = io.ReadAll(response.Body)
	return err == nil && !response.Close, err
}

// drive asks everything, each connection its next as soon as it has an answer, and returns how long that took.
// atEnd is called when all is answered and the connections are still open.
func drive(server *ca, job *job, connections int, atEnd func()) time.Duration {
	var next atomic.Int64
	var answered, gone sync.WaitGroup
	leave := make(chan struct{})
	answered.Add(connections)
	gone.Add(connections)
	begun := time.Now()
	for own := 0; own < connections; own++ {
		var holds *holder
		if job.holders != nil {
			holds = job.holders[own]
		}
		go func() {
			defer gone.Done()
			var open *line
			for {
				number := int(next.Add(1)) - 1
				if number >= len(job.asks) {
					break
				}
				each := job.asks[number]
				if holds != nil {
					holds.show(each)
				}
				start := time.Now()
				open, each.problem = answer(server, job, open, each)
				each.took = time.Since(start)
				if holds != nil && each.problem == nil && each.status == 201 {
					each.problem = holds.take(each.body)
				}
			}
			answered.Done()
			<-leave
			if open != nil {
				open.Close()
			}
		}()
	}
	answered.Wait()
	elapsed := time.Since(begun)
	if atEnd != nil {
		atEnd()
	}
	close(leave)
	gone.Wait()
	return elapsed
}

// answer gets one answer, on the open connection or a new one, and returns the connection if it can go on.
func answer(server *ca, job *job, open *line, each *ask) (*line, error) {
	for {
		if open == nil {
			var err error
			if open, err = dial(server, each.shown); err != nil {
				return nil, err
			}
		}
		again, err := open.exchange(each)
		stale := open.used && each.status == 0 && errors.Is(err, io.EOF)
		open.used = true
		if again && !job.fresh {
			return open, nil
		}
		// Without waiting for the other side's goodbye, as clients do.
		open.NetConn().Close()
		open = nil
		if !stale {
			return nil, err
		}
		// The server had closed a connection that it had kept for a while, before it read this request.
		atomic.AddInt64(&job.reconnects, 1)
	}
}
