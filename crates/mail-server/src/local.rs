//! A mail store on Maildirs.
