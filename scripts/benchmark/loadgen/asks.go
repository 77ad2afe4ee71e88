package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"
)

// ca is the server, and what its clients have to know of it.
type ca struct {
	base        *url.URL
	roots       *x509.CertPool
	fingerprint string
	signer      *ecdsa.PrivateKey
	kid         string
	provisioner string
}

func newCA(address, root, key, kid, provisioner string) (*ca, error) {
	base, err := url.Parse(address)
	if err != nil || base.Scheme != "https" || base.Port() == "" {
		return nil, errors.New("--url must be like https://localhost:9000")
	}
	anchor, err := readPEM(root, "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(anchor)
	if err != nil {
		return nil, err
	}
	encoded, err := readPEM(key, "PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(encoded)
	if err != nil {
		return nil, err
	}
	signer, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || signer.Curve != elliptic.P256() {
		return nil, errors.New("the provisioner's key is not on P-256")
	}
	digest := sha256.Sum256(anchor)
	made := &ca{
		base: base, roots: x509.NewCertPool(), fingerprint: hex.EncodeToString(digest[:]),
		signer: signer, kid: kid, provisioner: provisioner,
	}
	made.roots.AddCert(certificate)
	return made, nil
}

func readPEM(path, kind string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != kind {
		return nil, fmt.Errorf("%s holds no %s", path, strings.ToLower(kind))
	}
	return block.Bytes, nil
}

// ask is one request as it goes over the wire, what its answer must hold, and what came.
type ask struct {
	wire    []byte
	name    string
	key     *ecdsa.PublicKey // nil: any answer of status 200 will do
	shown   *tls.Certificate // by the client, when it renews
	status  int
	body    []byte
	problem error
	took    time.Duration
}

// holder has a key and the newest certificate for it, which it renews again and again, as clients do.
type holder struct {
	key     *ecdsa.PrivateKey
	name    string
	current *tls.Certificate
}

// job is what one run asks.
type job struct {
	asks       []*ask
	fresh      bool      // a connection for each
	holders    []*holder // one for each connection, when certificates are renewed
	reconnects int64
}

// prepare makes everything that can be made before the clock starts.
func prepare(server *ca, work string, count, connections int) (*job, error) {
	switch work {
	case "sign", "sign-new":
		made := &job{asks: make([]*ask, count), fresh: work == "sign-new"}
		_, err := fill(server, made)
		return made, err
	case "health", "health-new":
		made := &job{fresh: work == "health-new"}
		wire := server.request("GET", "/health", nil, made.fresh)
		for len(made.asks) < count {
			made.asks = append(made.asks, &ask{wire: wire})
		}
		return made, nil
	case "renew":
		return renewals(server, count, connections)
	}
	return nil, fmt.Errorf("there is no work called %s", work)
}

// fill makes the requests for certificates, and returns the keys that belong to them.
func fill(server *ca, made *job) ([]*ecdsa.PrivateKey, error) {
	keys := make([]*ecdsa.PrivateKey, len(made.asks))
	return keys, inParallel(len(made.asks), func(number int) (err error) {
		keys[number], made.asks[number], err = server.signing(made.fresh)
		return err
	})
}

// renewals has a certificate issued for each connection, and renews it, and what comes of that, again and again.
func renewals(server *ca, count, connections int) (*job, error) {
	issuing := &job{asks: make([]*ask, connections)}
	keys, err := fill(server, issuing)
	if err != nil {
		return nil, err
	}
	drive(server, issuing, 1, nil)
	if _, err := judge(server, issuing); err != nil {
		return nil, err
	}
	made := &job{asks: make([]*ask, count), fresh: true}
	for number, each := range issuing.asks {
		holds := &holder{key: keys[number], name: each.name}
		if err := holds.take(each.body); err != nil {
			return nil, err
		}
		made.holders = append(made.holders, holds)
	}
	wire := server.request("POST", "/1.0/renew", nil, true)
	for number := range made.asks {
		made.asks[number] = &ask{wire: wire}
	}
	return made, nil
}

// show prepares a renewal.
func (holds *holder) show(each *ask) {
	each.name, each.key, each.shown = holds.name, &holds.key.PublicKey, holds.current
}

// take makes the certificate of an answer the current one. It only unpacks it: the clock runs, and it is judged later.
func (holds *holder) take(body []byte) error {
	chain, err := unpack(body)
	if err == nil {
		holds.current = &tls.Certificate{PrivateKey: holds.key, Certificate: chain}
	}
	return err
}

// signing makes a key, a request for a certificate and a token for it.
func (server *ca) signing(fresh bool) (*ecdsa.PrivateKey, *ask, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	var draw [32]byte
	if _, err := rand.Read(draw[:]); err != nil {
		return nil, nil, err
	}
	identifier := hex.EncodeToString(draw[:])
	name := identifier[:16] + ".load.example.com"
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}}
	csr, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		return nil, nil, err
	}
	token, err := server.token(name, identifier)
	if err != nil {
		return nil, nil, err
	}
	body, err := json.Marshal(map[string]string{
		"csr": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr})), "ott": token,
	})
	if err != nil {
		return nil, nil, err
	}
	return key, &ask{wire: server.request("POST", "/1.0/sign", body, fresh), name: name, key: &key.PublicKey}, nil
}

// token makes a token as the step CLI does (RFC 7519, ES256).
func (server *ca) token(name, identifier string) (string, error) {
	now := time.Now().Unix()
	header, err := json.Marshal(map[string]string{"alg": "ES256", "kid": server.kid, "typ": "JWT"})
	if err != nil {
		return "", err
	}
	claims, err := json.Marshal(map[string]any{
		"aud": server.base.String() + "/1.0/sign", "iss": server.provisioner, "sub": name, "sans": []string{name},
		"jti": identifier, "iat": now, "nbf": now, "exp": now + 600, "sha": server.fingerprint,
	})
	if err != nil {
		return "", err
	}
	text := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(claims)
	digest := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, server.signer, digest[:])
	if err != nil {
		return "", err
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

// request writes a whole request of HTTP/1.1 (RFC 9112).
func (server *ca) request(method, path string, body []byte, last bool) []byte {
	var wire strings.Builder
	fmt.Fprintf(&wire, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, path, server.base.Host)
	if method == "POST" {
		fmt.Fprintf(&wire, "Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	if last {
		wire.WriteString("Connection: close\r\n")
	}
	wire.WriteString("\r\n")
	wire.Write(body)
	return []byte(wire.String())
}

// inParallel does something for each number on all cores, and returns the first error.
func inParallel(count int, do func(int) error) error {
	var group sync.WaitGroup
	cores := runtime.NumCPU()
	failures := make([]error, cores)
	for core := 0; core < cores; core++ {
		group.Add(1)
		go func(core int) {
			defer group.Done()
			for number := core; number < count && failures[core] == nil; number += cores {
				failures[core] = do(number)
			}
		}(core)
	}
	group.Wait()
	return errors.Join(failures...)
}
