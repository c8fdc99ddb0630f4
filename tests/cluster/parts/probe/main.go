// Probe is what the cluster's own tests run in their pods: it says who and where it is, reads and writes files, asks
// names and addresses, burns CPU, and ends in order. It is one static program, since an image has nothing else in it.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 1 {
		os.Exit(command(os.Args[1:]))
	}
	serve()
}

// command is for `kubectl exec`: cat FILE, status (of this process, as the kernel has it), env NAME.
func command(arguments []string) int {
	file := "/proc/self/status"
	switch arguments[0] {
	case "cat":
		file = arguments[1]
	case "env":
		fmt.Println(os.Getenv(arguments[1]))
		return 0
	}
	text, err := os.ReadFile(file)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	os.Stdout.Write(text)
	return 0
}

func serve() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		name, _ := os.Hostname()
		fmt.Fprintf(w, "%s %s\n", name, os.Getenv("NODE"))
	})
	mux.HandleFunc("GET /headers", func(w http.ResponseWriter, r *http.Request) { r.Header.Write(w) })
	mux.HandleFunc("GET /burn", burn)
	mux.HandleFunc("GET /wait", func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(time.Duration(number(r, "ms")) * time.Millisecond)
		fmt.Fprintln(w, "waited")
	})
	mux.HandleFunc("GET /file", func(w http.ResponseWriter, r *http.Request) {
		text, err := os.ReadFile(r.FormValue("path"))
		answer(w, string(text), err)
	})
	mux.HandleFunc("POST /file", write)
	mux.HandleFunc("POST /fill", fill)
	mux.HandleFunc("GET /resolve", func(w http.ResponseWriter, r *http.Request) {
		found, err := net.LookupHost(r.FormValue("name"))
		answer(w, strings.Join(found, " "), err)
	})
	mux.HandleFunc("GET /get", get)
	server := &http.Server{Addr: ":8080", Handler: mux}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-ended
		// As a careful program does behind a load balancer: it serves on until nobody sends to it any more.
		time.Sleep(time.Duration(envNumber("DRAIN_MS")) * time.Millisecond)
		server.Shutdown(context.Background())
	}()
	fmt.Println("probe: listening")
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("probe: ended in order")
}

func burn(w http.ResponseWriter, r *http.Request) {
	until := time.Now().Add(time.Duration(number(r, "ms")) * time.Millisecond)
	count := 0
	for time.Now().Before(until) {
		for i := 0; i < 100000; i++ {
			count += i & 1
		}
	}
	fmt.Fprintln(w, count)
}

func write(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(r.Body)
	if err == nil {
		err = written(r.FormValue("path"), text)
	}
	answer(w, "written\n", err)
}

func written(path string, text []byte) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err = file.Write(text); err != nil {
		return err
	}
	return file.Sync()
}

// fill writes until the disk is full, and answers with how many MiB it took and why it ended.
func fill(w http.ResponseWriter, r *http.Request) {
	file, err := os.Create(r.FormValue("path"))
	if err != nil {
		answer(w, "", err)
		return
	}
	defer file.Close()
	block := make([]byte, 1<<20)
	for i := 0; i < number(r, "mib"); i++ {
		if _, err = file.Write(block); err == nil {
			err = file.Sync()
		}
		if err != nil {
			answer(w, "", fmt.Errorf("after %d MiB: %w", i, err))
			return
		}
	}
	fmt.Fprintln(w, "written")
}

func get(w http.ResponseWriter, r *http.Request) {
	client := http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(r.FormValue("url"))
	if err != nil {
		answer(w, "", err)
		return
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	answer(w, string(text), err)
}

func answer(w http.ResponseWriter, text string, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	io.WriteString(w, text)
}

func number(r *http.Request, name string) int {
	found, _ := strconv.Atoi(r.FormValue(name))
	return found
}

func envNumber(name string) int {
	found, _ := strconv.Atoi(os.Getenv(name))
	return found
}
