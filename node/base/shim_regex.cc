/* SPDX-License-Identifier: Apache-2.0 */
/* RE2 behind a C header. Differences between RE2 20220601 and Go's regexp are settled here: \C is
 * refused, (?<n>x) is rewritten to (?P<n>x), an unclosed \Q is closed before wrapping, error texts
 * are Go's. */
#include "node/base/regex.h"

#include <new>
#include <string>

#include <re2/re2.h>

#include "node/base/utf8.h"

struct regex {
    RE2 re;
    bool anchored;
    regex(const std::string &pattern, const RE2::Options &options, bool anchor)
        : re(pattern, options), anchored(anchor) {}
};

namespace {

re2::StringPiece piece(struct sv s) {
    return re2::StringPiece(s.ptr, s.len);
}

RE2::Options regex_options() {
    RE2::Options options;
    options.set_log_errors(false);
    options.set_max_mem(
        64 << 20); /* with the default 8 MB an alternation of 1,000 literals falls out of the DFA */
    return options;
}

/* Go's parser refuses higher trees (regexp/syntax.maxHeight); a group is one level here. */
constexpr size_t DEPTH_MAX = 1000;

struct scan {
    std::string pattern; /* with (?< rewritten */
    bool rewritten = false;
    bool any_byte = false;   /* \C, which Go does not have */
    bool open_quote = false; /* \Q without \E */
    bool too_deep = false;
    std::string big_repeat; /* a {n} that RE2 would take for literal text */
};

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* One count of a repetition; *big when it has nine digits, where RE2 gives up. False for none or
 * leading zeros. */
bool scan_count(const std::string &p, size_t *i, bool *big) {
    size_t start = *i;
    while (*i < p.size() && is_digit(p[*i]))
        (*i)++;
    *big |= *i - start >= 9;
    return *i > start && (p[start] != '0' || *i == start + 1);
}

void scan_repeat(const std::string &p, size_t start, scan *out) {
    size_t i = start + 1;
    bool big = false;
    if (!scan_count(p, &i, &big)) return;
    if (i < p.size() && p[i] == ',' && i + 1 < p.size() && p[++i] != '}' &&
        !scan_count(p, &i, &big))
        return;
    if (big && i < p.size() && p[i] == '}' && out->big_repeat.empty())
        out->big_repeat = p.substr(start, i + 1 - start);
}

/* Copies a bracket expression that starts at i; returns the index behind it (or the end when it is
 * not closed). */
size_t scan_class(const std::string &p, size_t i, scan *out) {
    size_t start = i++;
    if (i < p.size() && p[i] == '^') i++;
    if (i < p.size() && p[i] == ']') i++; /* literal in first place */
    while (i < p.size() && p[i] != ']') {
        size_t close;
        if (p[i] == '\\') {
            i += 2;
        } else if (p.compare(i, 2, "[:") == 0 &&
                   (close = p.find(":]", i + 2)) != std::string::npos) {
            i = close + 2;
        } else {
            i++;
        }
    }
    i = i < p.size() ? i + 1 : p.size();
    out->pattern.append(p, start, i - start);
    return i;
}

scan scan_pattern(const std::string &p) {
    scan out;
    size_t i = 0, depth = 0;
    while (i < p.size()) {
        if (p[i] == '{') scan_repeat(p, i, &out);
        if (p[i] == '(') out.too_deep |= ++depth >= DEPTH_MAX;
        if (p[i] == ')' && depth > 0) depth--;
        if (p[i] == '[') {
            i = scan_class(p, i, &out);
        } else if (p[i] == '\\' && i + 1 < p.size()) {
            size_t end = i + 2;
            if (p[i + 1] == 'C') out.any_byte = true;
            if (p[i + 1] == 'Q') {
                size_t close = p.find("\\E", end);
                out.open_quote = close == std::string::npos;
                end = out.open_quote ? p.size() : close + 2;
            }
            out.pattern.append(p, i, end - i);
            i = end;
        } else if (p.compare(i, 3, "(?<") == 0) {
            out.pattern += "(?P<";
            out.rewritten = true;
            i += 3;
        } else {
            out.pattern += p[i++];
        }
    }
    return out;
}

const char *error_text(RE2::ErrorCode code) {
    switch (code) {
    case RE2::NoError: break;
    case RE2::ErrorInternal: break;
    case RE2::ErrorBadEscape: return "invalid escape sequence";
    case RE2::ErrorBadCharClass: return "invalid character class";
    case RE2::ErrorBadCharRange: return "invalid character class range";
    case RE2::ErrorMissingBracket: return "missing closing ]";
    case RE2::ErrorMissingParen: return "missing closing )";
    case RE2::ErrorUnexpectedParen: return "unexpected )";
    case RE2::ErrorTrailingBackslash: return "trailing backslash at end of expression";
    case RE2::ErrorRepeatArgument: return "missing argument to repetition operator";
    case RE2::ErrorRepeatSize: return "invalid repeat count";
    case RE2::ErrorRepeatOp: return "invalid nested repetition operator";
    case RE2::ErrorBadPerlOp: return "invalid or unsupported Perl syntax";
    case RE2::ErrorBadUTF8: return "invalid UTF-8";
    case RE2::ErrorBadNamedCapture: return "invalid named capture";
    case RE2::ErrorPatternTooLarge: return "expression too large";
    }
    return "regexp/syntax: internal error";
}

enum status fail(struct err *err, const char *text, const std::string &arg) {
    /* The end of a long pattern is cut rather than the closing quote. */
    size_t n = arg.size() < 380 ? arg.size() : 380;
    return err_set(err, ERR_PARSE, 0, "error parsing regexp: %s: `%.*s`", text, static_cast<int>(n),
                   arg.data());
}

/* Bytes before the first that is not UTF-8. */
size_t valid_prefix(const std::string &s) {
    size_t n = 0;
    uint32_t rune;
    while (n < s.size()) {
        size_t width = utf8_decode(sv{s.data() + n, s.size() - n}, &rune);
        if (width == 1 && rune == UTF8_INVALID) break;
        n += width;
    }
    return n;
}

enum status fail_re2(struct err *err, const RE2 &re, const std::string &original, bool rewritten) {
    std::string arg = re.error_arg();
    if (re.error_code() == RE2::ErrorPatternTooLarge ||
        re.error_code() == RE2::ErrorUnexpectedParen || re.error_code() == RE2::ErrorMissingParen)
        arg = original;
    else if (re.error_code() == RE2::ErrorBadUTF8)
        arg = original.substr(valid_prefix(original));
    else if (rewritten && original.find("(?P") == std::string::npos) {
        for (size_t at; (at = arg.find("(?P<")) != std::string::npos;)
            arg.erase(at + 2, 1);
        if (arg == "(?P") arg = "(?<";
    }
    return fail(err, error_text(re.error_code()), arg);
}

enum status compile(struct sv text, bool anchored, struct regex **out, struct err *err) {
    std::string original(text.len == 0 ? "" : text.ptr, text.len);
    scan scanned = scan_pattern(original);
    if (scanned.any_byte) return fail(err, "invalid escape sequence", "\\C");
    if (!scanned.big_repeat.empty()) return fail(err, "invalid repeat count", scanned.big_repeat);
    if (scanned.too_deep) return fail(err, "expression nests too deeply", original);
    regex *re = new (std::nothrow) regex(scanned.pattern, regex_options(), false);
    if (re == nullptr) return err_set(err, ERR_NOMEM, 0, "regexp: out of memory");
    if (!re->re.ok()) {
        enum status status = fail_re2(err, re->re, original, scanned.rewritten);
        delete re;
        return status;
    }
    if (anchored) {
        /* The bare pattern is sound, so wrapping cannot change how its parts bind. A leading ^
         * rather than a full match, because RE2 then compares literal prefixes without its
         * automaton. */
        delete re;
        std::string wrapped = "^(?s:" + scanned.pattern + (scanned.open_quote ? "\\E)$" : ")$");
        re = new (std::nothrow) regex(wrapped, regex_options(), true);
        if (re == nullptr) return err_set(err, ERR_NOMEM, 0, "regexp: out of memory");
        if (!re->re.ok()) {
            enum status status = fail_re2(err, re->re, original, scanned.rewritten);
            delete re;
            return status;
        }
    }
    *out = re;
    return OK;
}

} // namespace

extern "C" enum status regex_compile(struct sv pattern, struct regex **out,
                                     struct err *err) noexcept {
    return compile(pattern, true, out, err);
}

extern "C" enum status regex_compile_plain(struct sv pattern, struct regex **out,
                                           struct err *err) noexcept {
    return compile(pattern, false, out, err);
}

extern "C" void regex_free(struct regex *re) noexcept {
    delete re;
}

extern "C" bool regex_match(const struct regex *re, struct sv text) noexcept {
    return re->re.Match(piece(text), 0, text.len, RE2::UNANCHORED, nullptr, 0);
}

extern "C" size_t regex_match_groups_at(const struct regex *re, struct sv text, size_t start,
                                        struct sv *groups, size_t groups_max) noexcept {
    re2::StringPiece found[REGEX_GROUPS_MAX];
    size_t n = static_cast<size_t>(re->re.NumberOfCapturingGroups()) + 1;
    if (n > groups_max) n = groups_max;
    if (n > REGEX_GROUPS_MAX) n = REGEX_GROUPS_MAX;
    if (start > text.len) return 0;
    /* RE2 tells an empty group from a missing one by its pointer. */
    if (text.ptr == nullptr) text.ptr = "";
    if (!re->re.Match(piece(text), start, text.len, RE2::UNANCHORED, found, static_cast<int>(n)))
        return 0;
    for (size_t i = 0; i < n; i++)
        groups[i] = {found[i].data(), found[i].size()};
    return n;
}

extern "C" size_t regex_match_groups(const struct regex *re, struct sv text, struct sv *groups,
                                     size_t groups_max) noexcept {
    return regex_match_groups_at(re, text, 0, groups, groups_max);
}

extern "C" size_t regex_groups_count(const struct regex *re) noexcept {
    return static_cast<size_t>(re->re.NumberOfCapturingGroups());
}

extern "C" int regex_group_index(const struct regex *re, struct sv name) noexcept {
    const auto &names = re->re.NamedCapturingGroups();
    auto found = names.find(std::string(name.len == 0 ? "" : name.ptr, name.len));
    return found == names.end() ? -1 : found->second;
}

extern "C" bool regex_prefix_range(const struct regex *re, struct regex_range *out) noexcept {
    std::string min, max;
    if (!re->anchored || !re->re.PossibleMatchRange(&min, &max, REGEX_RANGE_BYTES)) return false;
    if (min.size() > sizeof out->min || max.size() > sizeof out->max) return false;
    out->min_len = min.copy(out->min, sizeof out->min);
    out->max_len = max.copy(out->max, sizeof out->max);
    return true;
}
