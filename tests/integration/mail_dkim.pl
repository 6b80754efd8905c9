#!/usr/bin/perl
# mail_dkim.pl - verifies messages with Mail::DKIM, for test_dkim.py: usage: mail_dkim.pl KEYS FILE..., where each
# line of KEYS is a name and its TXT record. Prints a line for each file: the results of all its signatures.
use strict;
use warnings;
use Mail::DKIM::Verifier;
use Net::DNS::RR;

my %keys;
open my $list, '<', shift or die "no keys: $!";
while (<$list>) {
    chomp;
    my ($name, $text) = split / /, $_, 2;
    $keys{$name} = $text;
}
{
    no warnings 'redefine';
    *Mail::DKIM::DNS::query = sub {
        my ($name, $type) = @_;
        return unless $type eq 'TXT' && $keys{$name};
        return Net::DNS::RR->new(name => $name, type => 'TXT', txtdata => [ $keys{$name} =~ /.{1,255}/g ]);
    };
}
for my $path (@ARGV) {
    open my $file, '<:raw', $path or die "$path: $!";
    my $verifier = Mail::DKIM::Verifier->new;
    $verifier->load($file);
    print join(' ', map { $_->result_detail } $verifier->signatures), "\n";
}
