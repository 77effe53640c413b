"""Many hosts of one spec: an inventory with labels, overlays by pattern, and a plan for each host in one review.

`inventory` reads what hosts there are, `layers` what differs per host, `examine` plans for one host, `survey` for all
of them, and `documents` writes the result.
"""
