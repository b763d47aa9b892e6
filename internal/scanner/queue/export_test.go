package queue

// ClaimJob and Waiting are queries whose plans are tested.
const ClaimJob, Waiting = claimJob, waiting
