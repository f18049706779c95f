// SPDX-License-Identifier: Apache-2.0

// Oracle prints what Go makes of many inputs, one case a line with tab-separated fields, for test_oracle.c to compare.
// Byte strings are in hex, so that a line can hold anything.
package main

import (
	"bufio"
	"fmt"
	"math/rand"
	"os"
	"strconv"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: oracle format|parse|integer|text|time|regex|tables [seed]")
		os.Exit(2)
	}
	seed := int64(1)
	if len(os.Args) > 2 {
		seed, _ = strconv.ParseInt(os.Args[2], 10, 64)
	}
	r := rand.New(rand.NewSource(seed))
	w := bufio.NewWriterSize(os.Stdout, 1<<20)
	defer w.Flush()
	switch os.Args[1] {
	case "format":
		formatCases(w, r)
	case "parse":
		parseCases(w, r)
	case "integer":
		integerCases(w, r)
	case "text":
		textCases(w, r)
	case "time":
		timeCases(w, r)
	case "regex":
		regexCases(w)
	case "tables":
		unicodeTables(w)
	default:
		fmt.Fprintf(os.Stderr, "oracle: unknown mode %q\n", os.Args[1])
		os.Exit(2)
	}
}
