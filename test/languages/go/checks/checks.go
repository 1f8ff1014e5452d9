// Package checks holds what the Go programs share: named checks, waiting, and asking the driver for a crash.
package checks

import (
	"bufio"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"time"
)

// Deadline bounds every wait of a check.
const Deadline = 60 * time.Second

// Check is one promise; it panics when the promise is broken.
type Check struct {
	Name string
	Run  func()
}

type skip struct{ reason string }

var stdin = bufio.NewReader(os.Stdin)

// Unique gives a name that nobody has used before.
func Unique(prefix string) string { return prefix + "-" + hex.EncodeToString(RandomBytes(6)) }

// RandomBytes gives that many.
func RandomBytes(size int) []byte {
	bytes := make([]byte, size)
	rand.Read(bytes)
	return bytes
}

// Require panics with the message unless the condition holds.
func Require(condition bool, format string, args ...any) {
	if !condition {
		panic(fmt.Sprintf(format, args...))
	}
}

// Must gives the value, or panics with the error.
func Must[T any](value T, err error) T {
	Require(err == nil, "%v", err)
	return value
}

// WaitFor polls the condition, which itself waits a little, until the deadline.
func WaitFor(what string, condition func() bool) {
	for until := time.Now().Add(Deadline); !condition(); {
		Require(time.Now().Before(until), "waited %v for: %s", Deadline, what)
	}
}

// CrashAndRestartBroker has the driver do so, and skips the check where it may not.
func CrashAndRestartBroker() {
	fmt.Println("request: crash and restart the broker")
	if line, _ := stdin.ReadString('\n'); strings.TrimSpace(line) != "done" {
		panic(skip{"the broker is not ours to kill"})
	}
}

// OnlyOurs skips a check of a limit of this broker where a real peer runs instead.
func OnlyOurs(reason string) {
	if os.Getenv("ROSETTAMQ_TEST_KAFKA") != "" {
		panic(skip{reason})
	}
}

func runOne(check Check) (passed bool) {
	started := time.Now()
	defer func() {
		switch failure := recover().(type) {
		case nil:
			fmt.Printf("ok - %s (%.1f s)\n", check.Name, time.Since(started).Seconds())
			passed = true
		case skip:
			fmt.Printf("skip - %s: %s\n", check.Name, failure.reason)
			passed = true
		default:
			fmt.Printf("not ok - %s\n%v\n", check.Name, failure)
		}
	}()
	check.Run()
	return
}

// Run runs the checks in order and leaves with 1 if one failed.
func Run(checks []Check) {
	status := 0
	for _, check := range checks {
		if !runOne(check) {
			status = 1
		}
	}
	os.Exit(status)
}
