// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"math"
	"math/rand"
	"time"
)

func timeCases(w *bufio.Writer, r *rand.Rand) {
	durations := []int64{0, 1, -1, 999, 1000, 1001, 999999, 1000000, 1100000, 999999999, 1e9, 60e9, 3600e9, 3600e9 + 1, math.MaxInt64, math.MinInt64}
	for i := 0; i < 20000; i++ {
		durations = append(durations, r.Int63n(int64(1)<<uint(1+r.Intn(62))), -r.Int63n(1e12), r.Int63n(1e7)*1e6)
	}
	for _, ns := range durations {
		fmt.Fprintf(w, "duration\t%d\t%s\n", ns, time.Duration(ns))
	}
	// from the year 0 to 9999, ms
	const first, last = -62167219200000, 253402300799999
	moments := []int64{0, -1, 1, 999, -999, -1000, -1001, 951782400000, 951868800000, 4107542400000, first, last}
	for i := 0; i < 40000; i++ {
		moments = append(moments, first+r.Int63n(last-first), r.Int63n(4e12), r.Int63n(200000)*86400000-1)
	}
	for _, ms := range moments {
		t := time.UnixMilli(ms).UTC()
		fmt.Fprintf(w, "civil\t%d\t%d %d %d %d %d %d %d %d %d %d\t%s\n", ms, t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(),
			t.Nanosecond()/1e6, t.Weekday(), t.YearDay(), time.Date(t.Year(), t.Month()+1, 0, 0, 0, 0, 0, time.UTC).Day(), t.Format(time.RFC3339Nano))
	}
	texts := []string{"", "2020", "2020-01-01", "2020-01-01T00:00:00", "2020-01-01T00:00:00Z", "2020-01-01t00:00:00Z", "2020-01-01T00:00:00z", "2020-01-01 00:00:00Z",
		"2020-02-29T23:59:59Z", "2021-02-29T23:59:59Z", "2000-02-29T00:00:00Z", "1900-02-29T00:00:00Z", "2020-13-01T00:00:00Z", "2020-00-01T00:00:00Z", "2020-01-00T00:00:00Z",
		"2020-01-32T00:00:00Z", "2020-01-01T24:00:00Z", "2020-01-01T23:60:00Z", "2020-01-01T23:59:60Z", "2020-01-01T1:02:03Z", "2020-01-01T00:00:00.Z", "2020-01-01T00:00:00.1Z",
		"2020-01-01T00:00:00.1239Z", "2020-01-01T00:00:00.123456789123456789Z", "2020-01-01T00:00:00,5Z", "1969-12-31T23:59:59.9999Z", "1960-01-01T00:00:00.0001Z", "2020-01-01T00:00:00+01:00",
		"2020-01-01T00:00:00-23:59", "2020-01-01T00:00:00+24:00", "2020-01-01T00:00:00+24:60", "2020-01-01T00:00:00+25:00", "2020-01-01T00:00:00+01:61", "2020-01-01T00:00:00+0100",
		"2020-01-01T00:00:00+1:00", "2020-01-01T00:00:00+01:0", "2020-01-01T00:00:00+01:000", "2020-01-01T00:00:00Zx", "02020-01-01T00:00:00Z", "020-01-01T00:00:00Z", "0000-01-01T00:00:00Z",
		"9999-12-31T23:59:59.999Z", "2020-1-01T00:00:00Z", "2020-01-1T00:00:00Z", "2020-01-01T00:0:00Z", "2020-01-01T00:00:0Z", "+020-01-01T00:00:00Z", "2020-01-01T00:00:00.5.5Z",
		"2020-01-01T-1:00:00Z", "2020-01-01T00:00:00 Z", "2020-01-01T00:00:00.+01:00", "2020-01-01T00:00:00.5+01:00", "2020-01-01T00:00:00.0Z"}
	for i := 0; i < 20000; i++ {
		b := []byte("2020-02-28T12:34:56.789+01:30")
		if r.Intn(2) == 0 {
			b = []byte("1965-11-30T07:08:09.5Z")
		}
		for n := r.Intn(4); n > 0; n-- {
			b[r.Intn(len(b))] = "0123456789-+:.,TZ"[r.Intn(17)]
		}
		texts = append(texts, string(b))
	}
	for _, s := range texts {
		t, err := time.Parse(time.RFC3339Nano, s)
		ms := int64(0)
		if err == nil {
			ms = t.Unix()*1000 + int64(t.Nanosecond()/1e6)
		}
		fmt.Fprintf(w, "parse\t%x\t%v\t%d\n", s, err == nil, ms)
	}
}
