// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// hex input, hex strconv.Quote, hex JSON string without HTML escapes, valid UTF-8, count of runes
func textCases(w *bufio.Writer, r *rand.Rand) {
	put := func(s string) {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(s); err != nil {
			panic(err)
		}
		fmt.Fprintf(w, "%x\t%x\t%x\t%v\t%d\n", s, strconv.Quote(s), strings.TrimSuffix(b.String(), "\n"), utf8.ValidString(s),
			utf8.RuneCountInString(s))
	}
	put("")
	for c := 0; c < 256; c++ {
		put(string([]byte{byte(c)}))
		put("ab" + string([]byte{byte(c)}) + "cd")
		for d := 0x78; d < 0xc8; d++ {
			put(string([]byte{byte(c), byte(d)}))
			put(string([]byte{byte(c), byte(d), 0xbf}))
			put(string([]byte{byte(c), byte(d), 0x80, 0x80}))
		}
	}
	for c := rune(0); c <= unicode.MaxRune; c++ {
		if c < 0x3100 || c%61 == 0 || c > 0xfe00 && c < 0x10300 || c >= 0xd7f0 && c < 0xe010 {
			put(string(c))
		}
	}
	for i := 0; i < 20000; i++ {
		b := make([]byte, r.Intn(24))
		for j := range b {
			if b[j] = byte(r.Intn(256)); r.Intn(2) == 0 {
				b[j] &= 0x7f
			}
		}
		put(string(b))
		put(string(b) + strings.Repeat("x", r.Intn(20)) + string(rune(r.Intn(0x110000))) + "tail")
	}
}
