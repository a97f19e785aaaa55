"""`harness completion SHELL` prints what makes a shell ask; `harness __complete WORDS…` answers it.

The last word is the one to complete, '' for a new one. An answer that ends in `=`, `.` or `/` goes on.
"""

from argparse import Namespace
from collections.abc import Sequence

from harness.launch.candidates import candidates
from harness.printed import printed

# Bash splits words at the characters of COMP_WORDBREAKS and replaces the last piece alone, so the line is split here
# at blanks, and the answers lose what stands before the piece.
BASH = """_harness() {
    local line="${COMP_LINE:0:COMP_POINT}" words word answer before=""
    read -ra words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    word="${words[${#words[@]}-1]}"
    [[ $COMP_WORDBREAKS == *=* && $word == *=* ]] && before="${word%"${word##*=}"}"
    COMPREPLY=()
    while IFS= read -r answer; do
        [[ $answer == *[=./] ]] || answer+=" "
        COMPREPLY+=("${answer#"$before"}")
    done < <("${words[0]}" __complete "${words[@]:1}" 2>/dev/null)
}
complete -o nospace -F _harness harness
"""
ZSH = """#compdef harness
_harness() {
    local answer
    for answer in "${(@f)$("${words[1]}" __complete "${(@)words[2,CURRENT-1]}" "$PREFIX" 2>/dev/null)}"; do
        case $answer in
            '') ;;
            *[=./]) compadd -S '' -- "$answer" ;;
            *) compadd -- "$answer" ;;
        esac
    done
}
compdef _harness harness
"""
FISH = """function __harness_complete
    set -l words (commandline -opc)
    $words[1] __complete $words[2..-1] (commandline -ct) 2>/dev/null
end
complete -c harness -f -a '(__harness_complete)'
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def run(asked: Namespace) -> int:
    script = SCRIPTS[asked.shell]
    print(printed({"shell": asked.shell, "script": script}) if asked.json else script, end="\n" * asked.json)
    return 0


def answer(words: Sequence[str]) -> int:
    *before, word = words or [""]
    for candidate in candidates(before, word):
        print(candidate)
    return 0
