#!/usr/bin/perl
# mime_tools.pl - reads messages with Perl's MIME tools, for test_compose.py: each file named on the command line
# becomes a line of JSON, {"problems": [...], "parts": [{"type", "file", "cid", "body"}]}, bodies as base64.
use strict;
use warnings;
use JSON::PP;
use MIME::Base64;
use MIME::Parser;

sub parts_of {
    my ($entity) = @_;
    return map { parts_of($_) } $entity->parts if $entity->is_multipart;
    my $cid = $entity->head->get('Content-ID') // '';
    $cid =~ s/^<|>\s*$//g;
    my $body = $entity->bodyhandle ? $entity->bodyhandle->as_string : join '', map { $_->as_string } $entity->parts;
    return {
        type => $entity->mime_type,
        file => $entity->head->recommended_filename // '',
        cid => $cid,
        body => encode_base64($body, ''),
    };
}

for my $path (@ARGV) {
    my $parser = MIME::Parser->new;
    $parser->output_to_core(1);
    $parser->tmp_to_core(1);
    $parser->extract_nested_messages(0);
    my $entity = $parser->parse_open($path);
    my @problems = ($parser->results->errors, $parser->results->warnings);
    print JSON::PP->new->ascii->encode({ problems => \@problems, parts => [parts_of($entity)] }), "\n";
}
