"""The tests of the chart, run by scripts/chart.sh, which sets what chart.py and environment.py read."""
