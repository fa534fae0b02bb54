"""Whether a submission would survive the organizers' machines: their scripts, their limits, and data as they occur.

    twelvelead preflight [DATA] [--submission FOLDER] [--docker]

run.py goes through the steps and prints the table, data.py makes the recordings, machine.py runs commands without a
network and with the test machine's memory, outputs.py checks the files that come out. organizers/ has stand-ins for the
organizers' scripts of 2020 and 2021, written from their description. They are texts, not modules: they are laid over a
copy of the submission and belong to no package.
"""
