# Sourced by the shell programs: one line per scenario, "ok NAME" or "FAIL NAME reason". Uses BOOTSTRAP and PREFIX.
failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# scenario NAME FUNCTION ARGS...: the function fails by its exit status (set -e does not hold inside a condition, so use &&).
scenario() {
  local name=$1; shift
  if "$@" > "$work/out" 2>&1; then echo "ok $name"; else
    failed=1
    echo "FAIL $name $(tail -c 300 "$work/out" | tr '\n' ' ')"
  fi
}

# same EXPECTED ACTUAL: compares two texts and shows where they differ.
same() { diff <(printf '%s\n' "$1") <(printf '%s\n' "$2"); }

# has TEXT PATTERN: the text has a line that matches.
has() { grep -qE -- "$2" <<< "$1" || { echo "no '$2' in: $1"; return 1; }; }

# eventually COMMAND...: repeats until it succeeds, at most 20 s.
eventually() { for _ in $(seq 40); do "$@" && return; sleep 0.5; done; return 1; }
