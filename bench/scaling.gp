# Draws one operation of bench_scaling's CSV over the number of shards; called by scripts/bench:
#     gnuplot -e "csv='…'; svg='…'; operation='set'; shards_max=64" bench/scaling.gp
set terminal svg size 820,480 enhanced font "sans-serif,13" background "white"
set output svg
set datafile separator ","
set title operation . ": millions of operations a second by number of shards"
set xlabel "shards"
set ylabel "million a second"
set logscale x 2
set xrange [0.9:shards_max * 1.1]
set yrange [0:*]
set grid ytics
set key outside right top
# Columns: 1 ttl_ms, 2 shards, 3 operation, 4 mode, 8 operations_per_second.
pick(mode, ttl) = strcol(3) eq operation && strcol(4) eq mode && ($1 > 0) == ttl ? $8 / 1e6 : NaN
set datafile missing NaN
modes = operation eq "set" ? "serial concurrent growing" : "serial concurrent"
plot for [mode in modes] csv every ::1 using 2:(pick(mode, 0)) with linespoints linewidth 2 \
         title mode, \
     for [mode in modes] csv every ::1 using 2:(pick(mode, 1)) with linespoints linewidth 2 \
         dashtype 2 title mode . ", TTL"
