// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
)

var patterns = []string{"", "a", "5..", ".*", ".+", ".*-prod-.*", "a|b|c|d", "(?i:foo.*)", "(?i)FOO", "app-[0-9]+-(prod|staging)-[0-9a-f]+-.*", ".*[0-9a-f]{5}$",
	"(a+)+", "^a", "a$", "^a$", "^", "$", "a|", "|a", "(|a)b", "a?b*c+", "a??b*?", "(a)(b)?(c)", "(?P<x>a)(?P<y>b)?", "(?<x>a+)", "[(?<x>]+", "[](?<x>]+", "[^](?<x>]+", "[[:alpha:](?<]+", `[\](?<x>]+`, "(?<x>[)]|a)", `\(?<x>`, `\Q(?<x>\E.`, `a\Qb.c`, `\Qa\E+`,
	"(?s).", "(?-s).", "(?-s:.)", "(?m)^a$", "(?U)a+", "(?i)straße", "(?i)ſ", `\d+`, `\w+\s\W`, `\bfoo\b`, `\Bo`, `\pL+`, `\p{Greek}+`, `\PN`, `[[:alpha:]]+`, `[[:^digit:]]`, `[]a]+`, `[^]a]`,
	`[a\]b]+`, `\x41`, `\x{1F600}`, `\a\f\t\n\r\v`, `\012`, `.`, "é+", "[é-ü]", `a{2}`, `a{2,}`, `a{2,3}`, `a{,3}`, `a{0}`, `a{1000}`, `(a{10}){10}`, `x*`, `(?:a|ab)(?:c|bcd)(d*)`, "(a|ab)(c|bcd)(d*)",
	"a.c", "a\nb", "foo|bar|baz", "(foo|bar)-(.*)", "(.*):(.*)", "([^:]+)(:[0-9]+)?", "__meta_(.+)_(.*)", `(\d+)\.(\d+)`, `a\z`, `\Aa`, "a**b?", "日本.*", "[[:word:]]",
	// refused, some by Go alone
	"(", "a(b", "a)", "a)(b", "[", "[a", "a[b", "[]", "[^]", "[a-", "[z-a]", `[\Q]`, "*", "+a", "?", "a**", "a++", "a*?*", "a{2}{3}", "a{1001}", "a{3,2}", "a{1,1001}", "(a{1000}){1000}", "a{99999999999}",
	"((a{100}){10}){10}", `\`, `a\`, `\C`, `a\Cb`, `\Q\C\E`, `\\C`, `[\C]`, `\8`, `\1`, `(a)\1`, `\z*`, `\Z`, `\h`, `\R`, `\K`, `\X`, `\G`, `\N`, "(?=a)", "(?!a)", "(?<=a)", "(?<!a)", "(?>a)", "a++b", "(?x)a b", "(?#c)",
	"(?P<", "(?P<a", "(?P<>a)", "(?P<a-b>c)", "(?P<a>b)(?P<a>c)", "(?<a>b)(?<a>c)", "(?<", "(?<a", "(?<>a)", "(?Pa)", "(?i", "(?z)", "(?-)", "(?i-)", "(?", `\p`, `\p{Nope}`, `\pZ`, `\p{Greek`, `[[:nope:]]`, `[\w-z]`, `[a-\d]`,
	`\x{110000}`, `\xg`, `\x4`, "\xff", "a\xffb", "[\xff]", strings.Repeat("(", 1200) + strings.Repeat(")", 1200), "(?i)(?s)(?m)a", "x{2}{2}", "(?i:a)b", `\Q`, `\E`, `\Qa`, `[[.a.]]`, `[[=a=]]`, "|", "||", "()", "(|)*", "(a*)*", "(a*)+", "(a|b)*?c",
}

var texts = []string{"", "a", "b", "ab", "aa", "aaa", "ac", "abc", "abcd", "FOO", "foo", "foobar", "bar-x-y", "500", "404", "app-12-prod-ab1f-x", "x-prod-y", "host:9090", "host", "a:b:c", "a\nb", "\n", "a)(b", "(?<x>", "b.c", "ab.c", "C",
	`\C`, "STRASSE", "straße", "s", "foo bar", "1.25", "é", "日本語", "αβγ", "]", "A", "😀", "__meta_x_y_z", "a b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!", "12345", "z", "-", "a{,3}", "deadbeef", "\t", "Ω9", "P", "[P", "<P>"}

var templates = []string{"$1", "${1}", "$0x", "${1}x", "$x-$y", "${x}", "$$1", "$", "$$", "${", "${1", "$1_", "${nope}", "$9", "$01", "$é", "a$-b", "<$0>", "${1}${2}:${3}"}

func groups(m []string, index []int) string {
	parts := []string{}
	for i, s := range m {
		if index[2*i] < 0 {
			parts = append(parts, "-")
		} else {
			parts = append(parts, fmt.Sprintf("%x.", s))
		}
	}
	return strings.Join(parts, ",")
}

// pattern <hex> <anchored> <ok> <hex error>, followed for a good pattern by its texts:
// text <hex> <match> <groups>, replace <hex template> <hex result>,
// expand <hex template> <hex result>
func regexCases(w *bufio.Writer) {
	_, err := regexp.Compile("(?<x>a)")
	named := err == nil // Go 1.22
	for _, p := range patterns {
		if !named && strings.Contains(p, "(?<") {
			continue
		}
		for _, anchored := range []bool{false, true} {
			// as Prometheus: parsed with the dot matching newlines, then wrapped
			re, err := regexp.Compile(p)
			if anchored && err == nil {
				parsed, perr := syntax.Parse(p, syntax.Perl|syntax.DotNL)
				if perr != nil {
					panic(perr)
				}
				re, err = regexp.Compile("^(?s:" + parsed.String() + ")$")
			}
			message := ""
			if err != nil {
				message = err.Error()
			}
			fmt.Fprintf(w, "pattern\t%x\t%v\t%v\t%x\n", p, anchored, err == nil, message)
			if err != nil {
				continue
			}
			for _, s := range texts {
				m, index := re.FindStringSubmatch(s), re.FindStringSubmatchIndex(s)
				fmt.Fprintf(w, "text\t%x\t%v\t%s\n", s, m != nil, groups(m, index))
				for _, t := range templates {
					if m != nil {
						fmt.Fprintf(w, "expand\t%x\t%x\n", t, re.ExpandString(nil, t, s, index))
					}
				}
				fmt.Fprintf(w, "replace\t%x\t%x\n", "<$0>", re.ReplaceAllString(s, "<$0>"))
			}
		}
	}
}
