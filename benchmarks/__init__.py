"""What edgecache costs, beside others and beside itself. None of this is installed, and the program imports none of it.

====================  ==========================================================================================
``make bench``        side by side: nginx, Varnish, HAProxy and edgecache, CPU time per request (``__main__``)
``make bench-scaling``  a hit with more objects, tags and purges (``scaling``)
``make bench-guard``  instructions per hit, against what is recorded (``guard``)
``make bench-flames`` where the time of each lane goes (``flames``)
``make bench-purge``  how long a purge takes (``purge``)
``make bench-trouble``  hits while Redis is in trouble (``trouble``)
====================  ==========================================================================================

Side by side, from the bottom: ``processes`` knows what the kernel says about them; ``origin`` is the site behind
everybody; ``servers`` is the contract of what is measured, ``peers`` and ``edge`` keep it; ``workload`` is what is
asked for, ``load`` and ``open_loop`` ask it; ``cases`` is the table; ``stage`` has everybody ready for a case,
``side_by_side`` measures it, ``report`` shows it. ``in_process`` is an edge without sockets, for the others.
"""
