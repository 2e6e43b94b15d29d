//! The outbound encodings, versioned: the contract with clients
