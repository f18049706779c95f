// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"math/rand"
	"strconv"
	"strings"
)

func floats(r *rand.Rand) []float64 {
	out := []float64{0, math.Copysign(0, -1), math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64,
		math.SmallestNonzeroFloat64, 2.2250738585072014e-308, 2.225073858507201e-308, 1e-6, 9.999999999999999e-7,
		1e21, 9.999999999999999e20, 1e15, 1e15 + 1, 999999999999999, 123456, 1234567, 1e5, 1e6, 1e-4, 1e-5, 5e-324}
	for e := -1074; e <= 1023; e++ {
		v := math.Ldexp(1, e)
		out = append(out, v, math.Nextafter(v, 0), math.Nextafter(v, math.Inf(1)))
	}
	for e := -323; e <= 308; e++ {
		v, _ := strconv.ParseFloat("1e"+strconv.Itoa(e), 64)
		out = append(out, v, math.Nextafter(v, 0), math.Nextafter(v, math.Inf(1)))
	}
	for i := 0; i < 120000; i++ {
		out = append(out, math.Float64frombits(r.Uint64()))
	}
	for i := 0; i < 20000; i++ {
		out = append(out, float64(r.Int63n(1<<uint(1+r.Intn(62)))), float64(r.Int63n(1e9))/1000,
			-float64(r.Int63n(1e6))/100, math.Float64frombits(r.Uint64()&(1<<52-1)))
	}
	return out
}

// bits, 'f', 'e', 'g', Prometheus' JSON value, encoding/json
func formatCases(w *bufio.Writer, r *rand.Rand) {
	for _, v := range floats(r) {
		verb := byte('f')
		if abs := math.Abs(v); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
			verb = 'e'
		}
		encoded, err := json.Marshal(v)
		if err != nil {
			encoded = []byte("null")
		}
		fmt.Fprintf(w, "%016x\t%s\t%s\t%s\t%s\t%s\n", math.Float64bits(v), strconv.FormatFloat(v, 'f', -1, 64),
			strconv.FormatFloat(v, 'e', -1, 64), strconv.FormatFloat(v, 'g', -1, 64),
			strconv.FormatFloat(v, verb, -1, 64), encoded)
	}
}

func randomOf(r *rand.Rand, alphabet string, maxLen int) string {
	var b strings.Builder
	for n := r.Intn(maxLen + 1); n > 0; n-- {
		b.WriteByte(alphabet[r.Intn(len(alphabet))])
	}
	return b.String()
}

var parseTable = []string{"", "+", "-", ".", "0", "-0", "+0", "1.", ".5", "-.5", "+.5e1", "e5", "1e", "1e+", "1e5", "1E5", "1e-5", "1e+05",
	"inf", "Inf", "+Inf", "-inf", "INFINITY", "infinit", "infi", "-Infinity", "nan", "NaN", "NAN", "+nan", "-nan", "nan(1)", "nan()",
	"1e308", "1.8e308", "1e309", "-1e400", "1e-400", "4.9e-324", "2.4703282292062327e-324", "2.4703282292062328e-324", "1e99999999999999999999",
	"1e-99999999999999999999", "0e99999", "1_000", "_1", "1_", "1__0", "1_.5", "1._5", "1_000.5_5", "1e1_0", "1_e1", "0_1", "0x_1p0", "0x1_p0", "0x1p_0",
	"0x1p0", "0X1P+4", "0x1", "0x", "0xp1", "0x.p1", "0x1.8p1", "0x.8p0", "0x1.p0", "-0x1p-1074", "0x1p-1075", "0x1.8p-1075", "0x1.00000000000008p0",
	"0x1.000000000000080000000001p0", "0x1.00000000000018p0", "0x1.fffffffffffff8p1023", "0x1.fffffffffffff7p1023", "0x1p1024", "0x1p99999999999", "0x1p-99999999999",
	"0x0p99999", "0x00000000000000000000000000000000000001p0", "0x1.0p", "0x1p+", "0xgp0", "0b1", "0o7", "1 ", " 1", "1\x00", "--1", "+-1", "1,5", "१", "0x1.0000000000000fp-1022",
	"0x0.0000000000001p-1022", "0x0.00000000000008p-1022", "0x0.000000000000080000001p-1022", "123456789012345678901234567890", "0.1e1.5", "9007199254740993", "9007199254740992.99999",
	"179769313486231580793728971405303415079934132710037826936173778980444968292764750946649017977587207096330286416692887910946555547851940402630657488671505820681908902000708383676273854845817711531764475730270069855571366959622842914819860834936475292719074168444365510704342711559699508093042880",
	strings.Repeat("0", 400) + "1", "1" + strings.Repeat("0", 400), "0." + strings.Repeat("0", 400) + "1", "1." + strings.Repeat("0", 900) + "1", strings.Repeat("9", 700) + "e-700"}

// hex input, ok, bits
func parseCases(w *bufio.Writer, r *rand.Rand) {
	put := func(s string) {
		v, err := strconv.ParseFloat(s, 64)
		ok := err == nil || err.(*strconv.NumError).Err == strconv.ErrRange
		if !ok {
			v = 0
		}
		fmt.Fprintf(w, "%x\t%v\t%016x\n", s, ok, math.Float64bits(v))
	}
	for _, s := range parseTable {
		put(s)
	}
	for i := 0; i < 60000; i++ {
		v := math.Float64frombits(r.Uint64())
		put(strconv.FormatFloat(v, "feg"[i%3], -1, 64))
		put(strconv.FormatFloat(v, 'x', r.Intn(16), 64))
		// halfway between two neighbours and a little beside it, in full
		if v = math.Abs(v); v > 1e-20 && v < 1e20 {
			exact := strconv.FormatFloat(v, 'f', 800, 64)
			put(strings.TrimRight(exact, "0") + "5")
		}
	}
	for i := 0; i < 60000; i++ {
		put(randomOf(r, "0123456789.e-+_", 12))
		put("0x" + randomOf(r, "0123456789abcdefF.p-+_", 10) + "p" + randomOf(r, "0123456789-+_", 4))
		put(randomOf(r, "-+iInNfaFtTyY", 9))
		put("0x" + randomOf(r, "0123456789abcdef", 20) + "." + randomOf(r, "01234567890", 20) + "p-" + strconv.Itoa(1000+r.Intn(120)))
		put(randomOf(r, "0123456789", 30) + "." + randomOf(r, "0123456789", 30) + "e" + strconv.Itoa(r.Intn(700)-350))
	}
}

// hex input, ok, value of ParseInt base 0; ok, value of base 10; ok, value of ParseUint base 10
func integerCases(w *bufio.Writer, r *rand.Rand) {
	put := func(s string) {
		a, errA := strconv.ParseInt(s, 0, 64)
		b, errB := strconv.ParseInt(s, 10, 64)
		c, errC := strconv.ParseUint(s, 10, 64)
		fmt.Fprintf(w, "%x\t%v\t%d\t%v\t%d\t%v\t%d\n", s, errA == nil, a, errB == nil, b, errC == nil, c)
	}
	for _, s := range append([]string{"9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809",
		"18446744073709551615", "18446744073709551616", "0x7fffffffffffffff", "-0x8000000000000000", "0x8000000000000000", "0b", "0b1", "0o", "0o17", "017",
		"08", "00", "0_7", "0x_f", "0_x1", "-0", "+0", "+", "-", "", "_", "0_", "1_2_3", "0b102", "0B11", "0O7", "0XfF", "-0b101", "0b_1"}, parseTable...) {
		put(s)
	}
	for i := 0; i < 50000; i++ {
		put(randomOf(r, "-+_01xobXOB789af", 8))
		put(strconv.FormatInt(int64(r.Uint64()), 10))
		put([]string{"0x", "0o", "0b", "0", "-0x"}[r.Intn(5)] + randomOf(r, "0123456789abcdef_", 18))
	}
}
