package main

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"sync"
	"time"
)

// judge looks at every answer. It returns what is wrong with them, and an error if anything is.
func judge(server *ca, job *job) ([]string, error) {
	var lock sync.Mutex
	var complaints []string
	serials := map[string]bool{}
	_ = inParallel(len(job.asks), func(number int) error {
		serial, err := verify(server, job.asks[number])
		lock.Lock()
		defer lock.Unlock()
		if err == nil && serial != "" && serials[serial] {
			err = errors.New("two answers hold the same certificate")
		}
		serials[serial] = true
		if err != nil {
			complaints = append(complaints, err.Error())
		}
		return nil
	})
	if len(complaints) > 0 {
		return complaints, fmt.Errorf("%d of %d answers are wrong, such as: %s", len(complaints), len(job.asks), complaints[0])
	}
	return nil, nil
}

// verify returns the serial number of the certificate that came, if one had to come.
func verify(server *ca, each *ask) (string, error) {
	if each.problem != nil {
		return "", each.problem
	}
	if each.key == nil {
		if each.status != 200 {
			return "", fmt.Errorf("status %d: %.200s", each.status, each.body)
		}
		return "", nil
	}
	if each.status != 201 {
		return "", fmt.Errorf("status %d: %.200s", each.status, each.body)
	}
	chain, err := certificates(each.body)
	if err != nil {
		return "", err
	}
	between := x509.NewCertPool()
	for _, issuer := range chain[1:] {
		between.AddCert(issuer)
	}
	options := x509.VerifyOptions{
		Roots: server.roots, Intermediates: between, DNSName: each.name, CurrentTime: time.Now(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if _, err := chain[0].Verify(options); err != nil {
		return "", err
	}
	if !each.key.Equal(chain[0].PublicKey) {
		return "", errors.New("the certificate is for another key")
	}
	if each.shown != nil && string(chain[0].Raw) == string(each.shown.Certificate[0]) {
		return "", errors.New("the renewed certificate is the old one")
	}
	return chain[0].SerialNumber.String(), nil
}

// certificates returns the chain of an answer, the leaf first.
func certificates(body []byte) ([]*x509.Certificate, error) {
	encoded, err := unpack(body)
	if err != nil {
		return nil, err
	}
	var chain []*x509.Certificate
	for _, der := range encoded {
		each, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		chain = append(chain, each)
	}
	return chain, nil
}

// unpack returns the chain of an answer in DER, at least a leaf and its issuer.
func unpack(body []byte) ([][]byte, error) {
	var answer struct {
		Chain []string `json:"certChain"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, err
	}
	var chain [][]byte
	for _, text := range answer.Chain {
		block, _ := pem.Decode([]byte(text))
		if block == nil {
			return nil, errors.New("the chain is not PEM")
		}
		chain = append(chain, block.Bytes)
	}
	if len(chain) < 2 {
		return nil, errors.New("the chain is too short")
	}
	return chain, nil
}
