#!/bin/sh
# One spec file, in a process of its own: what it printed comes out in one piece, its counts
# go to a file in $LULL_BUILD/sums.  One in C is a program, and counts as one test.  For
# ./test, which calls several at a time and sets LULL, LULL_BUILD, stock (the interpreter,
# where it is not lull) and foreground.

file=$1
name=$(basename "$file" _spec.lua)
report=$LULL_BUILD/sums/$name.report
log=$LULL_BUILD/sums/$name.log
sum=$LULL_BUILD/sums/$name.sum

case $file in
*.c)
    program=spec/$(basename "$file" .c)
    timeout $foreground -k 10 600 "$LULL_BUILD/$program" </dev/null >"$log" 2>&1
    code=$?
    if [ "$code" = 0 ]; then
        echo "counts 1 0 0" >"$report"
        echo "$program 1 passed" >"$log"
    fi
    ;;
*)
    timeout $foreground -k 10 240 ${stock:-"$LULL" --plain} \
        /usr/bin/busted -Xoutput "$report" "$file" </dev/null >"$log" 2>&1
    code=$?
    ;;
esac

# The report holds the counts, or the name of the test that was running when all ended.
what= p=0 f=0 s=0
[ -f "$report" ] && read -r what p f s <"$report"
if [ "$what" != counts ]; then
    p=0 f=1 s=0
    echo "FAILED $file: exit code $code $(cat "$report" 2>/dev/null)" >>"$log"
elif [ "$code" != 0 ] && [ "$f" = 0 ]; then
    f=1
    echo "FAILED $file: exit code $code" >>"$log"
fi
echo "$p $f $s" >"$sum"
flock "$LULL_BUILD/sums" cat "$log"
