// Runs guides' Go: each line of standard input is a case in tab-separated base64; prints true or false for each.
package main

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

type isGenuine func(header func(string) string, body []byte, secret string, now time.Time) bool

func timeless(code func(func(string) string, []byte, string) bool) isGenuine {
	return func(header func(string) string, body []byte, secret string, _ time.Time) bool {
		return code(header, body, secret)
	}
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var cells []string
		for _, cell := range strings.Split(lines.Text(), "\t") {
			text, err := base64.StdEncoding.DecodeString(cell)
			if err != nil {
				panic(err)
			}
			cells = append(cells, string(text))
		}
		given := map[string]string{}
		for _, line := range strings.Split(cells[4], "\n") {
			name, value, _ := strings.Cut(line, ": ")
			given[strings.ToLower(name)] = value
		}
		header := func(name string) string { return given[strings.ToLower(name)] }
		seconds, err := strconv.ParseInt(cells[2], 10, 64)
		if err != nil {
			panic(err)
		}
		fmt.Println(codes[cells[0]](header, []byte(cells[3]), cells[1], time.Unix(seconds, 0)))
	}
}
