"""What an erasure costs at any scale: job costs that were measured, and a queue simulated on them.

costs       what jobs of a model take, from the records or a file
simulation  a day's requests gathered into jobs, and run by workers in the service's own order
plan        several batch policies beside one another: what each costs, and whether it is in time
"""
