"""The bench's runner: scenario files in, figures out. bench/README.md says how to use it.

    scenario    what bench/scenarios/*.yaml may hold, its checks, its scaling
    processes   daemon, world, load and raw as children with bounded waits; their CPU and memory
    machine     what the figures were measured on, the disk's sync time among it
    measure     one case of a scenario, once: from fresh state to figures
    stores      stores with a history: a large backlog, and one drained out of order
    report      medians, tables, JSON, goals judged
    chart       the SVG"""
