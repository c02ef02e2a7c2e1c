ValueSet: type
