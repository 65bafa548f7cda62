"""The report of one run or several: what is in it, and the page it is shown on."""
