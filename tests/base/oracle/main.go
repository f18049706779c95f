// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"os"
)

func main() {
	w := bufio.NewWriter(os.Stdout)
	defer w.Flush()
	unicodeTables(w)
}
